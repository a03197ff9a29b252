package seal

import (
	"sync"
	"sync/atomic"
	"time"
)

// clock tells the Unix second for the price of a load. Reading the system's clock
// costs as much as sealing half a small message; so a reading is kept for a tenth of a
// second at most, and a timer withdraws it. No timer runs while nobody asks.
//
// It also notices that the time has jumped: that the wall clock and the monotonic clock,
// which stands still while a machine does, have moved apart since the last reading. That is
// what a machine sees that was suspended, or restored from a snapshot of its memory.
type clock struct {
	jumped func() // called when the time has jumped

	second  atomic.Int64 // 0: ask the system
	setup   sync.Mutex
	timer   *time.Timer
	last    reading
	read    func() reading // nil for the system's clocks
	started time.Time
}

// reading is what both clocks show.
type reading struct {
	wall      time.Time
	monotonic time.Duration // since some time
}

const (
	keptFor = 100 * time.Millisecond
	// maxDrift is by how much the clocks may move apart, as they do when the wall clock is
	// adjusted by a little.
	maxDrift = 2 * time.Second
)

// system reads the system's clocks. The first reading is what the monotonic clock counts from.
func (c *clock) system() reading {
	now := time.Now()
	if c.started.IsZero() {
		c.started = now
	}
	return reading{wall: now.Round(0), monotonic: now.Sub(c.started)}
}

func (c *clock) unix() int64 {
	if t := c.second.Load(); t != 0 {
		return t
	}
	return c.ask()
}

func (c *clock) ask() int64 {
	c.setup.Lock()
	defer c.setup.Unlock()
	if t := c.second.Load(); t != 0 {
		return t
	}
	read := c.read
	if read == nil {
		read = c.system
	}
	now := read()
	if c.jumped != nil && !c.last.wall.IsZero() && now.jumpedSince(c.last) {
		c.jumped()
	}
	c.last = now
	c.second.Store(now.wall.Unix())
	left := min(keptFor, time.Second-time.Duration(now.wall.Nanosecond()))
	if c.timer == nil {
		c.timer = time.AfterFunc(left, func() { c.second.Store(0) })
	} else {
		c.timer.Reset(left)
	}
	return now.wall.Unix()
}

// jumpedSince reports whether the clocks have moved apart since before.
func (r reading) jumpedSince(before reading) bool {
	apart := r.wall.Sub(before.wall) - (r.monotonic - before.monotonic)
	return apart > maxDrift || apart < -maxDrift
}
