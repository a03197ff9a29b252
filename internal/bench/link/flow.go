package link

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// errForeign is reported when something else arrives than what was sent.
var errForeign = errors.New("link: a payload arrived that is not ours")

// flow counts messages at both ends and holds the publisher back while too many are
// under way. The subscriber wakes the publisher once for many messages.
type flow struct {
	size   int
	window int64
	sent   int64 // the publisher's own
	state  *shared
}

// shared is what both ends touch.
type shared struct {
	received atomic.Int64
	wanted   atomic.Int64 // 0: nobody waits; else how many must have been received
	foreign  atomic.Bool
	last     atomic.Int64  // when the awaited message arrived, nanoseconds since begin
	begin    time.Time     // has the monotonic clock
	wake     chan struct{} // holds one
}

func newFlow(size int) flow {
	n := min(window, max(some, inFlight/max(size, 1)))
	return flow{size: size, window: int64(n), state: &shared{begin: time.Now(), wake: make(chan struct{}, 1)}}
}

// receive is the subscriber's callback.
func (f *flow) receive(payload []byte) {
	s := f.state
	if len(payload) != f.size {
		s.foreign.Store(true)
	}
	n := s.received.Add(1)
	if wanted := s.wanted.Load(); wanted != 0 && n >= wanted && s.wanted.CompareAndSwap(wanted, 0) {
		s.last.Store(int64(time.Since(s.begin)))
		s.wake <- struct{}{}
	}
}

// admit counts a message that is about to be sent. When the window is full it waits
// until half of it is free.
func (f *flow) admit(ctx context.Context) error {
	if f.sent-f.state.received.Load() >= f.window {
		if err := f.await(ctx, f.sent-f.window/2); err != nil {
			return err
		}
	}
	f.sent++
	return nil
}

// drain waits until all that was sent has been received.
func (f *flow) drain(ctx context.Context) error { return f.await(ctx, f.sent) }

// arrived is when the message came that drain waited for.
func (f *flow) arrived() time.Time { return f.state.begin.Add(time.Duration(f.state.last.Load())) }

// await waits until n messages have been received in all.
func (f *flow) await(ctx context.Context, n int64) error {
	s := f.state
	s.wanted.Store(n)
	if s.received.Load() >= n && s.wanted.CompareAndSwap(n, 0) {
		s.last.Store(int64(time.Since(s.begin)))
		return f.check()
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for seen := s.received.Load(); ; {
		select {
		case <-s.wake:
			return f.check()
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			now := s.received.Load()
			if now == seen {
				return fmt.Errorf("link: %d messages got lost", f.sent-now)
			}
			seen = now
			timeout.Reset(patience)
		}
	}
}

func (f *flow) check() error {
	if f.state.foreign.Load() {
		return errForeign
	}
	return nil
}
