package kube

import "slices"

// notes is what others did to the Deployment that hinders nobody.
func (s *snapshot) notes() []string { return slices.Clone(s.unseen) }
