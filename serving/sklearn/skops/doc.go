// Package skops reads the persistence format of the Python library skops
// (skops.io, protocols 1 and 2): a zip archive with schema.json, a tree of
// nodes, and numpy arrays beside it.
//
// It builds no Python object and runs nothing: a node stays a description.
// What a class or attribute means is the caller's business. Every file is
// taken as hostile: sizes, counts, depth and references are bounded.
package skops
