package kube

// NeverFits is neverFits, for tests.
var NeverFits = neverFits
