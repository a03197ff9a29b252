package acebroker

import (
	"context"
	"errors"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// take is shown what a client publishes to authz-info (RFC 9431, section 2.2.2): its access token, as it is. The
// reason is what PUBACK, PUBREC or, for a refusal at QoS 0, DISCONNECT says of it.
func (f *connection) take(_ string, m *wire.PublishPacket) (reason byte) {
	reason = f.l.upload(f, m.Payload)
	if reason == wire.Success {
		f.l.counters.uploaded.Add(1)
	} else {
		f.l.counters.uploadRefused.Add(1)
	}
	return reason
}

func (l *Listener) upload(f *connection, token []byte) (reason byte) {
	s, now := l.current.Load(), l.clock.Now()
	switch {
	case !s.AuthzInfo:
		return wire.NotAuthorized
	case !l.uploads.allow(f.remote, now):
		return wire.QuotaExceeded
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	defer cancel()
	a, err := s.verifier.verify(ctx, token)
	switch {
	case errors.Is(err, ErrMalformed):
		return wire.PayloadFormatInvalid
	case err != nil:
		return wire.NotAuthorized
	}
	clientID := ""
	if session := f.guarded(); session != nil {
		clientID = session.ClientID()
	}
	if l.judgeStored(ctx, s.verifier, clientID, a, now) != nil || !l.store.put(clientID, a, now) {
		return wire.NotAuthorized
	}
	// A live connection with the same key gets the new rights (RFC 9202, section 4), unless its own token is newer.
	// Whoever publishes here is not authenticated, so that nothing but rights of the very identity may come of it.
	// It lives by that token from then on: that is the one that the Authorization Server is asked about again.
	for _, other := range l.live.older(a) {
		grant := other.guarded().Grant()
		if grant.Identity == a.identity && grant.Expires.Before(a.expires) {
			_ = other.renew(ctx, a)
		}
	}
	return wire.Success
}

// judgeStored validates anew what is stored from before a Reload and would make way for a: if it is valid still, it
// does not. Whose the Client Identifier is nobody has said, and who publishes a is not even authenticated: so nothing
// makes way for it that nobody can be asked about.
func (l *Listener) judgeStored(ctx context.Context, v *verifier, clientID string, a *access, now time.Time) error {
	for _, old := range l.store.outdated(clientID, a, now) {
		again, err := v.fresh(ctx, old)
		switch {
		case errors.Is(err, ErrUnreachable):
			return err
		case err == nil:
			l.store.renew(old, again)
		}
	}
	return nil
}
