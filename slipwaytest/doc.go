// Package slipwaytest holds what keeps the interfaces of package slipway
// honest: one conformance suite for each of them, which every implementation
// passes, and implementations in memory that pass it too and can be told to
// misbehave.
//
// It is for tests only.
package slipwaytest
