package python

import (
	"fmt"
	"os"
	"time"
)

// watchEvery is how often the memory of a worker is looked at.
const watchEvery = 50 * time.Millisecond

// watch kills the worker when it has more memory than it may. The worker's own
// limit (RLIMIT_DATA) stops most allocations before; this one counts what was
// mapped from files or shared, too.
func (p *process) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return
		case <-tick.C:
			if resident(p.pid) > p.limit {
				p.big.Store(true)
				p.kill()
				return
			}
		}
	}
}

// resident is the memory a process has, in bytes; 0 when it is gone.
func resident(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
