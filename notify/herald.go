package notify

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

// Limit is how long telling may take: each message to each channel, and Wait.
const Limit = 10 * time.Second

// Herald tells messages to several channels at once, in the background. To one
// channel it tells them one after the other. It is safe for concurrent use.
type Herald struct {
	channels []Notifier
	limit    time.Duration
	pending  sync.WaitGroup

	mu    sync.Mutex
	turn  map[string]chan struct{}                // by channel: closed when its last message is told
	marks map[slipway.ReleaseID]map[string]string // by release and channel
	told  []Told
}

// Told is how telling one message to one channel went.
type Told struct {
	Channel string
	Release slipway.ReleaseID
	Kind    Kind
	Err     error // nil: it went well
}

// NewHerald returns a herald of the channels, whose names differ. limit bounds
// the time of each message.
func NewHerald(channels []Notifier, limit time.Duration) *Herald {
	return &Herald{channels: channels, limit: limit, turn: map[string]chan struct{}{}, marks: map[slipway.ReleaseID]map[string]string{}}
}

// Names returns the channels' names.
func (h *Herald) Names() []string {
	var names []string
	for _, channel := range h.channels {
		names = append(names, channel.Name())
	}
	return names
}

// Tell begins to tell a message to all channels but those that know it, and
// returns at once.
func (h *Herald) Tell(m Message, know ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, channel := range h.channels {
		if slices.Contains(know, channel.Name()) {
			continue
		}
		before, mine := h.turn[channel.Name()], make(chan struct{})
		h.turn[channel.Name()] = mine
		h.told = append(h.told, Told{Channel: channel.Name(), Release: m.Release.ID, Kind: m.Kind, Err: unanswered(channel)})
		number := len(h.told) - 1
		h.pending.Go(func() {
			defer close(mine)
			h.tellOne(channel, m, before, number)
		})
	}
}

// unanswered is how telling went as long as it goes on.
func unanswered(channel Notifier) error {
	return slipway.Errorf(slipway.Unavailable, "telling "+channel.Name(), "it did not answer in time").
		WithHint("see whether this machine reaches it; HTTPS_PROXY names a proxy")
}

// tellOne tells a message to a channel, once the one before is told.
func (h *Herald) tellOne(channel Notifier, m Message, before <-chan struct{}, number int) {
	ctx, cancel := context.WithTimeout(context.Background(), h.limit)
	defer cancel()
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
		}
	}
	mark, err := tell(ctx, channel, m, h.mark(m.Release.ID, channel.Name()))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keep(m.Release.ID, channel.Name(), mark)
	h.told[number].Err = err
}

// tell tells, and takes a channel's panic for an error: what it cannot cope
// with must not end the release.
func tell(ctx context.Context, channel Notifier, m Message, mark string) (next string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = slipway.Errorf(slipway.Internal, "telling "+channel.Name(), "a defect of slipway: %v", p)
		}
	}()
	return channel.Tell(ctx, m, mark)
}

func (h *Herald) mark(id slipway.ReleaseID, channel string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.marks[id][channel]
}

func (h *Herald) keep(id slipway.ReleaseID, channel, mark string) {
	if id == "" || mark == "" {
		return
	}
	if h.marks[id] == nil {
		h.marks[id] = map[string]string{}
	}
	h.marks[id][channel] = mark
}

// Remember takes over the marks that another process has left with a release.
func (h *Herald) Remember(id slipway.ReleaseID, marks map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for channel, mark := range marks {
		h.keep(id, channel, mark)
	}
}

// Marks returns the marks of a release that are known by now, by channel; nil:
// none. It does not wait.
func (h *Herald) Marks(id slipway.ReleaseID) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.marks[id])
}

// Wait waits until all that Tell has begun is told, or the context ends, and
// returns how it went, in the order of Tell.
func (h *Herald) Wait(ctx context.Context) []Told {
	done := make(chan struct{})
	go func() {
		h.pending.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}
