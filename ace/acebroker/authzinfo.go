package acebroker

import (
	"context"
	"errors"

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
	now := l.clock.Now()
	switch {
	case !l.current.Load().AuthzInfo:
		return wire.NotAuthorized
	case !l.uploads.allow(f.remote, now):
		return wire.QuotaExceeded
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.current.Load().Timeout)
	defer cancel()
	a, err := l.current.Load().verifier.verify(ctx, token)
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
	if !l.store.put(clientID, a, now) {
		return wire.NotAuthorized
	}
	// A live connection with the same key gets the new rights (RFC 9202, section 4), unless its own token is newer.
	// Whoever publishes here is not authenticated, so that nothing but rights of the very identity may come of it.
	for _, session := range l.live.older(a) {
		if session.Grant().Identity == a.identity && session.Grant().Expires.Before(a.expires) {
			_ = session.Renew(a.grant())
		}
	}
	return wire.Success
}
