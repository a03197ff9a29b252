package acebroker

import (
	"context"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// watch sees to it that the Authorization Server is asked again about a token that only it can judge, while a
// connection lives by it (RFC 9431, section 3; RFC 9200, section 6.10). f.mu is held.
func (f *connection) watch(a *access) {
	if f.unwatch != nil {
		f.unwatch()
		f.unwatch = nil
	}
	if a == nil || a.recheck.IsZero() || f.closed {
		return
	}
	f.unwatch = f.l.clock.AfterFunc(a.recheck.Sub(f.l.clock.Now()), func() { f.recheck(a) })
}

// recheck ends the connection if its token is not active any more, or if that cannot be found out.
func (f *connection) recheck(a *access) {
	ctx, cancel := context.WithTimeout(context.Background(), f.l.current.Load().Timeout)
	defer cancel()
	again, err := f.l.current.Load().verifier.verify(ctx, a.token)
	if err == nil && again.identity != a.identity {
		err = errIdentities
	}
	f.renewing.Lock()
	defer f.renewing.Unlock()
	f.mu.Lock()
	session := f.session
	if f.closed || f.access != a {
		f.mu.Unlock()
		return // there is another token meanwhile
	}
	if err == nil {
		f.replace(again)
	}
	f.mu.Unlock()
	if err != nil {
		session.End(wire.NotAuthorized, err)
		return
	}
	_ = session.Renew(again.grant()) // which ends the connection if it fails
}

// fresh is what a token that was validated before is now: validated anew if that was under another configuration, or
// if the Authorization Server's last answer is over, as RFC 9200, section 6.10, wants it also of what is stored. The
// error is why it is not valid any more: ErrUnreachable if nobody can be asked, errIdentities if it has another client
// or key meanwhile.
func (v *verifier) fresh(ctx context.Context, a *access) (*access, error) {
	if a.by == v.mark && (a.recheck.IsZero() || v.clock.Now().Before(a.recheck)) {
		return a, nil
	}
	again, err := v.verify(ctx, a.token)
	if err != nil {
		return nil, err
	}
	if again.identity != a.identity || again.key.Fingerprint() != a.key.Fingerprint() {
		return nil, errIdentities
	}
	return again, nil
}

// replace makes a the token that the connection lives by. f.mu is held.
func (f *connection) replace(a *access) {
	if f.access != nil {
		f.l.live.remove(f, f.access)
	}
	f.access = a
	if a != nil && !f.closed {
		f.l.live.put(f, a)
	}
	f.watch(a)
}
