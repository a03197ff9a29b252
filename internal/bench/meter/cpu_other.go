//go:build !unix

package meter

import "time"

// CPUTime is not known here.
func CPUTime() time.Duration { return 0 }
