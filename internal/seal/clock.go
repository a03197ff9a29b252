package seal

import (
	"sync"
	"sync/atomic"
	"time"
)

// clock tells the Unix second for the price of a load. Reading the system's clock
// costs as much as sealing half a small message; so a reading is kept, and a timer
// that lives no longer than the second withdraws it. No timer runs while nobody
// asks.
type clock struct {
	second atomic.Int64 // 0: ask the system
	setup  sync.Mutex
	timer  *time.Timer
}

func (c *clock) unix() int64 {
	if t := c.second.Load(); t != 0 {
		return t
	}
	return c.read()
}

func (c *clock) read() int64 {
	c.setup.Lock()
	defer c.setup.Unlock()
	if t := c.second.Load(); t != 0 {
		return t
	}
	now := time.Now()
	left := time.Second - time.Duration(now.Nanosecond())
	c.second.Store(now.Unix())
	if c.timer == nil {
		c.timer = time.AfterFunc(left, func() { c.second.Store(0) })
	} else {
		c.timer.Reset(left)
	}
	return now.Unix()
}
