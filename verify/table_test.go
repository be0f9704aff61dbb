package verify_test

import "sync"

// table is a map for several goroutines.
type table[V any] struct {
	mu sync.Mutex
	m  map[string]V
}

func (t *table[V]) Store(key string, v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]V{}
	}
	t.m[key] = v
}

func (t *table[V]) Load(key string) (V, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.m[key]
	return v, ok
}

func (t *table[V]) LoadOrStore(key string, v V) V {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.m[key]; ok {
		return old
	}
	if t.m == nil {
		t.m = map[string]V{}
	}
	t.m[key] = v
	return v
}
