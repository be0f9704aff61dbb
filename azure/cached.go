package azure

import (
	"context"
	"sync"
	"time"
)

// cached is a value that ends and is replaced before it does. Its zero value
// holds nothing.
type cached[T any] struct {
	mu    sync.Mutex
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
// good for a while outlives a failure to replace it; so that nobody waits for
// it, it is replaced in a hurry, and after a failure not at once again.
func (c *cached[T]) get(ctx context.Context, now time.Time, make func(context.Context) (T, life, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	good := now.Before(c.life.end.Add(-least))
	if c.life.fresh(now) || good && now.Before(c.again) {
		return c.value, nil
	}
	if good {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hurry)
		defer cancel()
	}
	value, life, err := make(ctx)
	switch {
	case err == nil:
		c.value, c.life = value, life
		return value, nil
	case good:
		c.again = now.Add(least)
		return c.value, nil
	}
	var none T
	return none, err
}
