package acebroker

import (
	"context"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// watch sees to it that the Authorization Server is asked again about a token that only it can judge, while a
// connection lives by it (RFC 9431, section 3; RFC 9200, section 6.10). f.mu is held.
func (f *connection) watch(a *access) {
	if f.unwatch != nil {
		f.unwatch()
		f.unwatch = nil
	}
	if a == nil || a.reference == nil || f.closed {
		return
	}
	f.unwatch = f.l.clock.AfterFunc(a.recheck.Sub(f.l.clock.Now()), func() { f.recheck(a) })
}

// recheck ends the connection if its token is not active any more, or if that cannot be found out.
func (f *connection) recheck(a *access) {
	ctx, cancel := context.WithTimeout(context.Background(), f.l.current.Load().Timeout)
	defer cancel()
	again, err := f.l.current.Load().verifier.verify(ctx, a.reference)
	if err == nil && again.identity != a.identity {
		err = errIdentities
	}
	f.mu.Lock()
	session := f.session
	if f.closed || f.access != a {
		f.mu.Unlock()
		return // there is another token meanwhile
	}
	if err == nil {
		f.replace(session, again)
	}
	f.mu.Unlock()
	if err != nil {
		session.End(wire.NotAuthorized, err)
		return
	}
	_ = session.Renew(again.grant()) // which ends the connection if it fails
}

// replace makes a the token that the connection lives by. f.mu is held.
func (f *connection) replace(session *guard.Session, a *access) {
	if f.access != nil {
		f.l.live.remove(session, f.access)
	}
	f.access = a
	if a != nil && !f.closed {
		f.l.live.put(session, a)
	}
	f.watch(a)
}
