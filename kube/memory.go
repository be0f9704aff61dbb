package kube

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// freshEnough is how old events may be. They explain; what is to be noticed at
// once lies in the objects.
const freshEnough = time.Second

// memory keeps events for a moment. Its zero value is empty.
type memory struct {
	sync.Mutex
	known map[types.UID]remembered
}

type remembered struct {
	at     time.Time
	events []corev1.Event
	blind  string
}

// eventsOf returns the object's events, as read asked for now or a moment ago.
func (m *memory) eventsOf(ctx context.Context, uid types.UID, read func(context.Context, types.UID) ([]corev1.Event, string, error)) ([]corev1.Event, string, error) {
	m.Lock()
	r, ok := m.known[uid]
	m.Unlock()
	if ok && time.Since(r.at) < freshEnough {
		return r.events, r.blind, nil
	}
	r = remembered{at: time.Now()}
	var err error
	if r.events, r.blind, err = read(ctx, uid); err != nil {
		return nil, "", err
	}
	m.Lock()
	defer m.Unlock()
	for old, known := range m.known {
		if time.Since(known.at) > freshEnough {
			delete(m.known, old)
		}
	}
	if m.known == nil {
		m.known = map[types.UID]remembered{}
	}
	m.known[uid] = r
	return r.events, r.blind, nil
}
