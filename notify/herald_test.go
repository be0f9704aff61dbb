package notify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/notify"
)

// channel is one of a test: it does what do says.
type channel struct {
	name string
	do   func(ctx context.Context, m notify.Message, mark string) (string, error)

	mu   sync.Mutex
	told []string
}

func (c *channel) Name() string { return c.name }

func (c *channel) Tell(ctx context.Context, m notify.Message, mark string) (string, error) {
	c.mu.Lock()
	c.told = append(c.told, string(m.Kind)+" "+mark)
	c.mu.Unlock()
	if c.do == nil {
		return c.name + "-1", nil
	}
	return c.do(ctx, m, mark)
}

func (c *channel) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.told)
}

func ways(told []notify.Told) []string {
	var all []string
	for _, t := range told {
		all = append(all, fmt.Sprint(t.Channel, " ", t.Kind, " ", t.Err == nil))
	}
	return all
}

func TestHeraldTellsInOrderAndWithMarks(t *testing.T) {
	t.Parallel()
	good := &channel{name: "good"}
	h := notify.NewHerald([]notify.Notifier{good}, notify.Limit)
	h.Tell(messages()["begun"])
	h.Tell(messages()["live"])
	ctx, cancel := context.WithTimeout(t.Context(), notify.Limit/2)
	defer cancel()
	told := h.Wait(ctx)
	if diff := cmp.Diff([]string{"begun ", "live good-1"}, good.said()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"good begun true", "good live true"}, ways(told)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"good": "good-1"}, h.Marks(release().ID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHeraldGoesOnWhereAnotherProcessWas(t *testing.T) {
	t.Parallel()
	good := &channel{name: "good"}
	h := notify.NewHerald([]notify.Notifier{good}, notify.Limit)
	h.Remember(release().ID, map[string]string{"good": "from-before", "other": "x"})
	h.Tell(messages()["live"])
	h.Wait(t.Context())
	if diff := cmp.Diff([]string{"live from-before"}, good.said()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// One that fails, panics or hangs costs the others nothing, and Tell no time.
func TestHeraldSurvivesItsChannels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, survivesItsChannels)
}

func survivesItsChannels(t *testing.T) {
	deaf := make(chan struct{})
	defer close(deaf)
	channels := []notify.Notifier{
		&channel{name: "failing", do: func(context.Context, notify.Message, string) (string, error) { return "", errors.New("no") }},
		&channel{name: "panicking", do: func(context.Context, notify.Message, string) (string, error) { panic("no") }},
		&channel{name: "hanging", do: func(ctx context.Context, _ notify.Message, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}},
		&channel{name: "deaf", do: func(context.Context, notify.Message, string) (string, error) { <-deaf; return "", nil }},
		&channel{name: "good"},
	}
	h, start := notify.NewHerald(channels, notify.Limit), time.Now()
	h.Tell(messages()["live"])
	if took := time.Since(start); took > 0 {
		t.Errorf("Tell took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*notify.Limit)
	defer cancel()
	got := ways(h.Wait(ctx))
	if took := time.Since(start); took != 2*notify.Limit {
		t.Errorf("Wait took %s", took)
	}
	want := []string{"failing live false", "panicking live false", "hanging live false", "deaf live false", "good live true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
