package azure

import (
	"context"
	"sync"
	"time"
)

// cached is a value that ends and is replaced before it does. Its zero value
// holds nothing.
type cached[T any] struct {
	making sync.Mutex // one makes it at a time

	mu    sync.Mutex // of what follows
	value T
	life  life
	again time.Time // replacing it failed, and is not tried before
}

// life says until when a value is good.
type life struct {
	refresh time.Time // when to replace it; zero: early before the end
	end     time.Time
}

const (
	early = 5 * time.Minute  // before its end a value is replaced
	least = 30 * time.Second // a value must be good for, to be used when it cannot be replaced
	hurry = 2 * time.Second  // to replace a value that is good
)

func (l life) fresh(now time.Time) bool {
	if !l.refresh.IsZero() && now.After(l.refresh) {
		return false
	}
	return now.Before(l.end.Add(-early))
}

// get returns the value, made anew by make where it is due. One that is still
// good for a while is replaced in a hurry and by one caller, while the others
// are given it; it outlives a failure, which is not tried again at once.
func (c *cached[T]) get(ctx context.Context, now time.Time, make func(context.Context) (T, life, error)) (T, error) {
	value, good, due := c.kept(now)
	if !due || good && !c.making.TryLock() {
		return value, nil
	}
	if !good {
		c.making.Lock()
	}
	defer c.making.Unlock()
	if value, good, due = c.kept(now); !due { // somebody made it meanwhile
		return value, nil
	}
	if good {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hurry)
		defer cancel()
	}
	value, life, err := make(ctx)
	return c.keep(now, value, life, err)
}

// kept returns the value, whether it is good, and whether to replace it.
func (c *cached[T]) kept(now time.Time) (value T, good, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	good = c.good(now)
	return c.value, good, !c.life.fresh(now) && !(good && now.Before(c.again))
}

func (c *cached[T]) good(now time.Time) bool { return now.Before(c.life.end.Add(-least)) }

// keep takes what was made in the value's place, if that worked.
func (c *cached[T]) keep(now time.Time, value T, life life, err error) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.value, c.life = value, life
	case c.good(now):
		c.again = now.Add(least)
	default:
		var none T
		return none, err
	}
	return c.value, nil
}
