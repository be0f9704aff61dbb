package kube

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// freshEnough is how old events may be. They explain; what is to be noticed at
// once lies in the objects.
const freshEnough = time.Second

// memory keeps events for a moment, and what others did that leaves no trace
// of when. Its zero value is empty.
type memory struct {
	sync.Mutex
	known   map[types.UID]remembered
	of      types.UID // the Deployment that was seen last
	wanted  int       // and how many replicas it was to have
	scaling []string
}

// mostScalings bounds how many scalings are told.
const mostScalings = 20

// scalings returns who scaled the Deployment since it was first looked at.
func (m *memory) scalings(s *snapshot) []string {
	m.Lock()
	defer m.Unlock()
	if s.deployment == nil {
		return nil
	}
	before, of := m.wanted, m.of
	m.wanted, m.of = s.want(), s.deployment.UID
	if by := s.scaledBy(); of == m.of && before != m.wanted && by != "" && len(m.scaling) < mostScalings {
		m.scaling = append(m.scaling, fmt.Sprintf("scaled to %d by %s, from %d", m.wanted, by, before))
	}
	return slices.Clone(m.scaling)
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
