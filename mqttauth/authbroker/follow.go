package authbroker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Available is nil, or an [ErrUnavailable] that says why nobody can log in at a Listener with this store.
func (s *Store) Available() error {
	if s.remote == nil {
		return nil
	}
	if why := s.remote.away.Load(); why != nil {
		return *why
	}
	return nil
}

// SharingCounters count what a Store has asked of the process that has it.
type SharingCounters struct {
	Failed    int64 // questions without an answer
	Conflicts int64 // transactions and guesses that were done again because others came before them
}

// SharingCounters returns the counts of this moment: zero for a store of this process's.
func (s *Store) SharingCounters() (c SharingCounters) {
	if s.remote != nil {
		c = SharingCounters{s.remote.failed.Load(), s.remote.conflicts.Load()}
	}
	return c
}

// changes waits for what others change. It fails when ctx ends, or when the process that has the store does not answer;
// the last answer was that of at.
func (s *Store) changes(ctx context.Context, last heard, at time.Time) (next heard, err error) {
	q := question{last.Boot, last.At, hubWait}
	if s.remote == nil {
		return s.hub.since(ctx, q), ctx.Err()
	}
	q.Wait = min(hubWait, s.remote.grace/3)
	limit := q.Wait + callTimeout
	if left := s.remote.grace - time.Since(at); left > 0 {
		limit = min(limit, left)
	}
	if err = s.learn(ctx); err == nil {
		err = s.remote.call(ctx, "/v1/changes", limit, q, &next)
	}
	if ctx.Err() == nil {
		s.remote.heard(err)
	}
	return next, err
}

// follow has connections mind what other processes change, until ctx ends. When nothing has been heard of the store
// for its grace, connections end.
func (l *Listener) follow(ctx context.Context) {
	var last heard
	at, pause, known := time.Now(), firstPause, ""
	for ctx.Err() == nil {
		next, err := l.store.changes(ctx, last, at)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if pause > firstPause {
				l.logger.Info("the store answers again")
			}
			l.mind(next)
			last, at, pause, known = next, time.Now(), firstPause, ""
			continue
		}
		if why := cause(err); why != known {
			l.logger.Error("the store is not available: nobody logs in", "reason", shown(err.Error()))
			known = why
		}
		if time.Since(at) >= l.store.remote.grace {
			l.endAll()
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// cause is what lies at the bottom of an error: it names no addresses, so that it is the same each time.
func cause(err error) string {
	for {
		var below error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			below = e.Unwrap()
		case interface{ Unwrap() []error }:
			all := e.Unwrap()
			below = all[len(all)-1]
		}
		if below == nil {
			return err.Error()
		}
		err = below
	}
}

// endAll ends every connection, since nobody knows any more what they may do.
func (l *Listener) endAll() {
	for _, f := range l.live.every() {
		f.end(wire.ServerUnavailable, ErrUnavailable)
	}
}

// end ends a connection that has been let through.
func (f *connection) end(reason byte, why error) bool {
	session := f.through()
	return session != nil && session.End(reason, why)
}

// through returns the session of a connection that has been let through, nil before.
func (f *connection) through() *guard.Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.session
}

// mind has those look at their grants anew whom a change concerns.
func (l *Listener) mind(h heard) {
	concerned := map[*connection]bool{}
	if h.Missed {
		for _, f := range l.live.every() {
			concerned[f] = true
		}
	}
	for _, c := range h.Changes {
		name, rest, _ := strings.Cut(string(c.Key), "\x00")
		switch c.Bucket {
		case bucketUsers:
			name = userName(name)
		case bucketGrants:
			for _, f := range l.live.all(userName(name)) {
				if f.clientID == rest {
					concerned[f] = true
				}
			}
			continue
		case bucketMeta:
			name = userName(rest)
		default:
			name = claimName(name)
		}
		for _, f := range l.live.all(name) {
			concerned[f] = true
		}
	}
	var looking sync.WaitGroup
	places := make(chan struct{}, maxRequests)
	for f := range concerned {
		places <- struct{}{}
		looking.Go(func() {
			defer func() { <-places }()
			f.recheck()
		})
	}
	looking.Wait()
}

// recheck looks at the grants anew, and whether the user still is who she was.
func (f *connection) recheck() {
	f.refresh()
	err := f.l.store.view(f.standing)
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable):
		f.end(wire.ServerUnavailable, err)
	default:
		f.end(wire.NotAuthorized, ErrRevoked)
	}
}

// standing refuses a connection whose user was removed, has another password or was cut off since it began.
func (f *connection) standing(t tx) error {
	h := holderOf(f.run)
	if err := h.enrolled(t); err != nil {
		return err
	}
	if string(t.get(bucketMeta, endedPrefix+f.run.User)) != f.mark {
		return ErrRevoked
	}
	return nil
}
