package serving

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// bounds are the histogram's buckets in seconds: OpenTelemetry's for
// http.server.request.duration, and below them those a native model needs.
var bounds = [...]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// statuses that answers to predictions can have; others are counted as 500.
var statuses = [...]int{200, 400, 405, 408, 413, 415, 500, 503, 504}

var doorNames = [...]string{invocations: "/invocations", predict: "/predict"}

// series counts the answers of one route and status.
type series struct {
	buckets [len(bounds) + 1]atomic.Uint64
	nanos   atomic.Uint64
}

func (s *series) total() uint64 {
	var n uint64
	for i := range s.buckets {
		n += s.buckets[i].Load()
	}
	return n
}

// metrics are the server's own counters, written in Prometheus' text format
// 0.0.4. They need no labels looked up and no reflection while requests are
// answered, and no library in the image.
type metrics struct {
	server *Server
	series [len(doorNames)][len(statuses)]series
	panics atomic.Uint64
	start  time.Time
}

func newMetrics(s *Server) *metrics { return &metrics{server: s, start: time.Now()} }

// count adds one answer.
func (m *metrics) count(door door, status int, took time.Duration) {
	s := &m.series[door][statusIndex(status)]
	s.buckets[bucket(took)].Add(1)
	s.nanos.Add(uint64(took))
}

func statusIndex(status int) int {
	for i, s := range statuses {
		if s == status {
			return i
		}
	}
	return statusIndex(http.StatusInternalServerError)
}

func bucket(took time.Duration) int {
	seconds := took.Seconds()
	for i, bound := range bounds {
		if seconds <= bound {
			return i
		}
	}
	return len(bounds)
}

func (m *metrics) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(m.text()) // a scraper that is gone needs no answer
}

// text writes all metrics.
func (m *metrics) text() []byte {
	p := page{labels: fmt.Sprintf("model_name=%s,model_version=%s", labelValue(m.server.who.name), labelValue(m.server.who.version))}
	m.durations(&p)
	m.answers(&p)
	phase := m.server.phase.Load()
	p.head("http_server_active_requests", "gauge", "Requests being answered.")
	p.value("http_server_active_requests", "", float64(m.server.inside.Load()))
	p.head("slipway_model_ready", "gauge", "1 when the model is loaded, its golden predictions came out right, and the server does not drain.")
	p.value("slipway_model_ready", "", one(phase == ready))
	p.head("slipway_engine_panics_total", "counter", "Panics of the engine, each answered with 500.")
	p.value("slipway_engine_panics_total", "", float64(m.panics.Load()))
	p.head("slipway_open_connections", "gauge", "Connections that clients keep open.")
	p.value("slipway_open_connections", "", float64(m.server.conns.Load()))
	m.workers(&p)
	m.process(&p)
	return p.text
}

// durations are named as OpenTelemetry's semantic conventions for HTTP say,
// in Prometheus' spelling.
func (m *metrics) durations(p *page) {
	const name = "http_server_request_duration_seconds"
	p.head(name, "histogram", "Time to answer a request for predictions.")
	for door := range m.series[:] {
		for i := range m.series[door][:] {
			s := &m.series[door][i]
			if s.total() > 0 || statuses[i] == http.StatusOK {
				p.histogram(name, fmt.Sprintf(`http_request_method="POST",http_route="%s",http_response_status_code="%d"`, doorNames[door], statuses[i]), s)
			}
		}
	}
}

// answers are the names that dashboards for MLServer ask for.
func (m *metrics) answers(p *page) {
	var good, bad uint64
	for door := range m.series[:] {
		for i := range m.series[door][:] {
			if n := m.series[door][i].total(); statuses[i] == http.StatusOK {
				good += n
			} else {
				bad += n
			}
		}
	}
	for _, c := range []struct {
		name, help string
		n          uint64
	}{
		{"model_infer_request_success_total", "Requests answered with predictions.", good},
		{"model_infer_request_failure_total", "Requests refused or failed.", bad},
	} {
		p.head(c.name, "counter", c.help)
		p.value(c.name, fmt.Sprintf(`model=%s,version=%s`, labelValue(m.server.who.name), labelValue(m.server.who.version)), float64(c.n))
	}
}

// workers are there for models that processes of their own answer.
func (m *metrics) workers(p *page) {
	state, ok := m.server.processes()
	if !ok {
		return
	}
	p.head("slipway_workers", "gauge", "Worker processes that can answer.")
	p.value("slipway_workers", "", float64(state.Workers))
	p.head("slipway_workers_wanted", "gauge", "Worker processes that there should be.")
	p.value("slipway_workers_wanted", "", float64(state.Wanted))
	p.head("slipway_worker_restarts_total", "counter", "Worker processes that were replaced.")
	p.value("slipway_worker_restarts_total", "", float64(state.Restarts))
	p.head("slipway_worker_queue_requests", "gauge", "Requests that wait for a worker.")
	p.value("slipway_worker_queue_requests", "", float64(state.Waiting))
}

func (m *metrics) process(p *page) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	p.head("go_goroutines", "gauge", "Goroutines that exist.")
	p.value("go_goroutines", "", float64(runtime.NumGoroutine()))
	p.head("go_memstats_heap_alloc_bytes", "gauge", "Bytes of live and not yet collected objects.")
	p.value("go_memstats_heap_alloc_bytes", "", float64(mem.HeapAlloc))
	p.head("go_memstats_sys_bytes", "gauge", "Bytes obtained from the system.")
	p.value("go_memstats_sys_bytes", "", float64(mem.Sys))
	p.head("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.")
	p.value("process_start_time_seconds", "", float64(m.start.UnixNano())/1e9)
}

// page is a text of metrics, all with the same first labels.
type page struct {
	text   []byte
	labels string
}

func (p *page) head(name, kind, help string) {
	p.text = fmt.Appendf(p.text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (p *page) value(name, labels string, v float64) {
	if labels != "" {
		labels = "," + labels
	}
	p.text = fmt.Appendf(p.text, "%s{%s%s} %s\n", name, p.labels, labels, strconv.FormatFloat(v, 'g', -1, 64))
}

func (p *page) histogram(name, labels string, s *series) {
	var sum uint64
	for i := range s.buckets {
		sum += s.buckets[i].Load()
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		p.value(name+"_bucket", labels+`,le="`+le+`"`, float64(sum))
	}
	p.value(name+"_sum", labels, float64(s.nanos.Load())/1e9)
	p.value(name+"_count", labels, float64(sum))
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// labelValue quotes a label's value (Prometheus, "Text format details").
func labelValue(s string) string {
	b := []byte{'"'}
	for _, c := range []byte(s) {
		switch c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
