package local

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listenerOn returns the process that listens on the TCP port, as far as this
// user may see it (proc(5), /proc/net/tcp and /proc/pid/fd).
func listenerOn(port string) (pid int, name string, ok bool) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0, "", false
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if data, err := readFile(table, 16<<20); err == nil {
			listening(data, strings.ToUpper(strconv.FormatUint(n, 16)), inodes)
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(inodes) == 0 {
		return 0, "", false
	}
	for _, link := range links {
		if socket, err := os.Readlink(link); err != nil || !inodes[socket] {
			continue
		}
		process := strings.Split(link, "/")[2]
		comm, err := os.ReadFile("/proc/" + process + "/comm")
		if pid, convErr := strconv.Atoi(process); err == nil && convErr == nil {
			return pid, string(bytes.TrimSpace(comm)), true
		}
	}
	return 0, "", false
}

// listening adds the sockets that listen on the port (hexadecimal) in a table
// of /proc/net.
func listening(table []byte, port string, inodes map[string]bool) {
	const listen = "0A"
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != listen {
			continue
		}
		if _, p, ok := strings.Cut(f[1], ":"); ok && strings.TrimLeft(p, "0") == port {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
}
