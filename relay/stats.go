package relay

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// counts are a counter with one label, whose values are known beforehand.
type counts struct {
	name, help, label string
	values            []string
	n                 []atomic.Uint64
}

func newCounts(name, help, label string, values ...string) *counts {
	return &counts{name, help, label, values, make([]atomic.Uint64, len(values))}
}

func (c *counts) add(value string) {
	for i, v := range c.values {
		if v == value {
			c.n[i].Add(1)
		}
	}
}

// stats are the relay's counters, written in Prometheus' text format 0.0.4.
type stats struct{ deliveries, starts, looks *counts }

func newStats() *stats {
	return &stats{
		newCounts("slipway_relay_deliveries_total", "Webhooks, by what was answered.", "result", "accepted", "ignored", "duplicate", "refused", "unavailable"),
		newCounts("slipway_relay_starts_total", "Releases that were to be started.", "result", "taken", "failed"),
		newCounts("slipway_relay_looks_total", "Questions to the model registry.", "result", "answered", "failed"),
	}
}

func (s *stats) started(err error) { s.starts.add(outcome(err, "taken")) }
func (s *stats) looked(err error)  { s.looks.add(outcome(err, "answered")) }

func outcome(err error, good string) string {
	if err != nil {
		return "failed"
	}
	return good
}

// metrics writes the counters, and how many promotions are in each state.
func (r *Relay) metrics() string {
	var b strings.Builder
	for _, c := range []*counts{r.stats.deliveries, r.stats.starts, r.stats.looks} {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s counter\n", c.name, c.help, c.name)
		for i, v := range c.values {
			fmt.Fprintf(&b, "%s{%s=%q} %d\n", c.name, c.label, v, c.n[i].Load())
		}
	}
	in := map[State]int{}
	for _, p := range r.Promotions() {
		in[p.State]++
	}
	fmt.Fprint(&b, "# HELP slipway_relay_promotions Models and environments that are watched, by state.\n# TYPE slipway_relay_promotions gauge\n")
	for _, s := range []State{Empty, Waiting, Held, Starting, Started, Live, Quarantined} {
		fmt.Fprintf(&b, "slipway_relay_promotions{state=%q} %d\n", s, in[s])
	}
	return b.String()
}
