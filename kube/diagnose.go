package kube

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-dev/slipway"
)

// problem is what is wrong with the Deployment itself; nil: nothing.
func (s *snapshot) problem(now time.Time) *slipway.Problem { return nil }

// problemOf is why the pod failed or waits; nil: nothing is wrong with it.
func (s *snapshot) problemOf(p corev1.Pod, now time.Time) *slipway.Problem { return nil }

// unwell returns the objects that are not as they should be, whose events may
// tell why.
func (s *snapshot) unwell(now time.Time) []types.UID { return nil }
