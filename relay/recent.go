package relay

import (
	"slices"
	"sync"
)

// shown is how many deliveries and starts people see.
const shown = 50

// recent keeps the last few of what happened, for people.
type recent[T any] struct {
	mu  sync.Mutex
	all []T // newest last
}

func (r *recent[T]) add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, v)
	if len(r.all) > shown {
		r.all = slices.Delete(r.all, 0, len(r.all)-shown)
	}
}

// put replaces the one that is the same, or adds v.
func (r *recent[T]) put(v T, same func(T) bool) {
	r.mu.Lock()
	i := slices.IndexFunc(r.all, same)
	if i >= 0 {
		r.all[i] = v
	}
	r.mu.Unlock()
	if i < 0 {
		r.add(v)
	}
}

// list returns them, newest first.
func (r *recent[T]) list() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.all)
	slices.Reverse(all)
	return all
}
