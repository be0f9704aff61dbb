package local

import (
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// set is the replicas of one order.
type set struct {
	order       order
	replicas    []*replica
	established bool // it has served: a replica that ends is started again
}

// check refuses an order that cannot be followed.
func (o order) check() error {
	if o.Want < 1 || o.Want > maxReplicas {
		return slipway.Errorf(slipway.Invalid, "reading an order", "%d replicas: use 1 to %d", o.Want, maxReplicas)
	}
	_, err := slipway.ParseDigest(string(o.Release.Image.Digest))
	return err
}

// same reports whether two orders are one.
func (o order) same(p order) bool { return o.Release.ID == p.Release.ID && o.sameProcess(p) }

// sameProcess reports whether replicas of one order do for the other.
func (o order) sameProcess(p order) bool {
	return o.Release.Image.Digest == p.Release.Image.Digest && o.Server == p.Server && o.Want == p.Want &&
		maps.Equal(o.Release.Env, p.Release.Env) && slices.Equal(o.Release.SecretEnv, p.Release.SecretEnv)
}

func (s *supervisor) startSet(t *set) {
	tag := strings.ToLower(rand.Text()[:4])
	for i := range t.order.Want {
		model := t.order.Release.Model
		r := s.newReplica(t, fmt.Sprintf("%s-%s-%s-%d", tame(string(model.Name)), tame(string(model.Version)), tag, i+1))
		t.replicas = append(t.replicas, r)
		s.work.Go(r.run)
	}
}

// tame makes part of a file name of a model's name or version.
func tame(name string) string {
	mapped := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, name)
	return mapped[:min(len(mapped), 40)]
}

// retire lets the replicas finish what they have and ends them.
func (s *supervisor) retire(t *set) {
	if t == nil {
		return
	}
	if t.failed() && !t.established {
		s.suspect = append(s.suspect, t.order.Release.Image.Digest)
	}
	for _, r := range t.replicas {
		r.state = slipway.Draining
		s.retired = append(s.retired, r)
		r.cancel()
		s.work.Go(func() { s.bury(r) })
	}
}

// bury forgets a retired replica once it has ended.
func (s *supervisor) bury(r *replica) {
	<-r.done
	if err := os.RemoveAll(r.dir); err != nil {
		s.log.Warn("clearing away a replica", "replica", r.name, "error", err)
	}
	s.mu.Lock()
	s.retired = slices.DeleteFunc(s.retired, func(other *replica) bool { return other == r })
	last := len(s.retired) == 0
	var old []string
	if last {
		old = s.setImagesAside()
		s.rearm()
	}
	s.mu.Unlock()
	for _, path := range old {
		if err := os.RemoveAll(path); err != nil {
			s.log.Warn("clearing away an old image", "path", path, "error", err)
		}
	}
}

func (t *set) ready() bool {
	for _, r := range t.replicas {
		if r.state != slipway.Ready {
			return false
		}
	}
	return len(t.replicas) > 0
}

func (t *set) failed() bool {
	return slices.ContainsFunc(t.replicas, func(r *replica) bool { return r.state == slipway.Failed })
}
