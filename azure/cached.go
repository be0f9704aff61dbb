package azure

import (
	"sync"
	"time"
)

// cached is a value that ends and is replaced before it does. Its zero value
// holds nothing.
type cached[T any] struct {
	mu    sync.Mutex
	value T
	life  life
}

// life says until when a value is good.
type life struct {
	refresh time.Time // when to replace it; zero: early before the end
	end     time.Time
}

const (
	early = 5 * time.Minute  // before its end a value is replaced
	least = 30 * time.Second // a value must be good for, to be used when it cannot be replaced
)

func (l life) fresh(now time.Time) bool {
	if !l.refresh.IsZero() && now.After(l.refresh) {
		return false
	}
	return now.Before(l.end.Add(-early))
}

// get returns the value, made anew by make where it is due. One that is still
// good for a while outlives a failure to replace it.
func (c *cached[T]) get(make func() (T, life, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.life.fresh(now) {
		return c.value, nil
	}
	value, life, err := make()
	if err == nil {
		c.value, c.life = value, life
		return value, nil
	}
	if now.Before(c.life.end.Add(-least)) {
		return c.value, nil
	}
	var none T
	return none, err
}
