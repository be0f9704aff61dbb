// Package bench measures the whole product against what users would pick
// instead, in one run, and prints a table of ratios: `make bench`. It asserts
// nothing about time; a peer that is missing fails it.
package bench
