package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A side that has not taken what was written to it at once, 64 KiB at most, after this long is given up. A client that
// does not read keeps its connection alive as far as TCP can tell, and keeps the gateway from seeing that the broker
// has ended it long ago.
const (
	stallTick = time.Minute
	stallMost = 10 // ticks
)

// stalls are the relays that may stall. Whoever passes something on pays two stores for being watched.
type stalls struct {
	now atomic.Int64 // in ticks, from 1 on

	mu    sync.Mutex
	flows map[*flow]struct{}
}

// flow is one relay.
type flow struct {
	client, broker     net.Conn
	toClient, toBroker atomic.Int64 // when the write under way began; 0 for none
}

func newStalls() *stalls {
	s := &stalls{flows: make(map[*flow]struct{})}
	s.now.Store(1)
	return s
}

// watch begins with a relay, forget ends.
func (s *stalls) watch(client, broker net.Conn) *flow {
	f := &flow{client: client, broker: broker}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flows[f] = struct{}{}
	return f
}

func (s *stalls) forget(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flows, f)
}

// run looks for stalled relays until ctx ends, and tells ended of each.
func (s *stalls) run(ctx context.Context, ended func(client net.Addr)) {
	tick := time.NewTicker(stallTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look(ended)
		case <-ctx.Done():
			return
		}
	}
}

// look lets a tick pass.
func (s *stalls) look(ended func(client net.Addr)) {
	late := s.now.Add(1) - stallMost
	s.mu.Lock()
	var stalled []*flow
	for f := range s.flows {
		if before(&f.toClient, late) || before(&f.toBroker, late) {
			stalled = append(stalled, f)
		}
	}
	s.mu.Unlock()
	for _, f := range stalled {
		ended(f.client.RemoteAddr())
		_, _ = f.broker.Close(), f.client.Close() // the pumps do the rest
	}
}

// before tells whether a write is under way that began before a tick.
func before(writing *atomic.Int64, tick int64) bool {
	began := writing.Load()
	return began > 0 && began < tick
}
