//go:build unix

package meter

import (
	"syscall"
	"time"
)

// CPUTime is what the process has used of all processors so far.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
