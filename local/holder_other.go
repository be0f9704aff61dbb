//go:build !linux

package local

// listenerOn is only known on Linux.
func listenerOn(string) (pid int, name string, ok bool) { return 0, "", false }
