package acebroker

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// PSK makes the keys of tokens the pre-shared keys of TLS (RFC 9431, section 2.2.1; RFC 9202, section 3.3). Its zero
// value is ready; it belongs to one listener. Key goes below, and the PSK into Config:
//
//	psk := new(acebroker.PSK)
//	inner, err := tlspsk.NewListener(tcp, &tlspsk.Config{Keys: psk.Key})
//	listener, err := acebroker.NewListener(inner, acebroker.Config{PSK: psk, ...})
//
// A client's identity is its token as it is, or the identifier of the key of a token that was uploaded to "authz-info"
// before, for which Config.AuthzInfo is needed, and a listener without pre-shared keys that shares the Config's stored
// tokens: uploads come over connections that have no key yet. A token must be bound to a shared secret.
type PSK struct {
	listener atomic.Pointer[Listener]
	uploads  atomic.Pointer[Listener]
}

// Key returns the key that belongs to an identity, nil if there is none. It is for Config.Keys of package tlspsk, which
// calls it before the client has proved anything: a token is validated as in CONNECT, within Config.Timeout.
func (p *PSK) Key(identity string) []byte {
	l := p.listener.Load()
	if l == nil {
		return nil
	}
	s := l.current.Load()
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	defer cancel()
	a := l.tokenOf(ctx, s, identity)
	if a == nil {
		return nil
	}
	return a.key.PSK()
}

// ShareUploads lets the tokens that are uploaded to another listener, one with certificates, name the keys of this one.
func (p *PSK) ShareUploads(from *Listener) { p.uploads.Store(from) }

// tokenOf returns the valid token that a PSK identity stands for, nil if there is none.
func (l *Listener) tokenOf(ctx context.Context, s *settings, identity string) *access {
	if s.PSK == nil {
		return nil
	}
	now := l.clock.Now()
	a, by := s.PSK.named(l, identity, now)
	var err error
	if a != nil {
		a, err = by.fresh(ctx, a)
	} else {
		a, err = s.verifier.verify(ctx, []byte(identity))
	}
	if err != nil || !a.key.Symmetric() || l.revoked.check(a, now) != nil {
		return nil
	}
	return a
}

// named finds the token of a key that has been uploaded, and the verifier of the listener that has it.
func (p *PSK) named(l *Listener, identity string, now time.Time) (*access, *verifier) {
	keyID, ok := pop.ParsePSKIdentity(identity)
	if !ok {
		return nil, nil
	}
	if a := l.store.byName(keyID, now); a != nil {
		return a, l.current.Load().verifier
	}
	if other := p.uploads.Load(); other != nil {
		if a := other.store.byName(keyID, now); a != nil && other.revoked.check(a, now) == nil {
			return a, other.current.Load().verifier
		}
	}
	return nil, nil
}

// preshared is a connection that was authenticated by a pre-shared key.
type preshared interface {
	PSKIdentity() string
	HasKey(key []byte) bool
}

// proved returns the token whose key a connection, or one below it, was authenticated with, nil if there is none. By
// the end of the handshake the identity may be that of another token, whose key this client has not.
func (l *Listener) proved(ctx context.Context, s *settings, conn net.Conn) *access {
	for conn != nil {
		if c, ok := conn.(preshared); ok {
			if identity := c.PSKIdentity(); identity != "" {
				return l.tokenWith(ctx, s, identity, c.HasKey)
			}
			return nil
		}
		c, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = c.NetConn()
	}
	return nil
}

func (l *Listener) tokenWith(ctx context.Context, s *settings, identity string, has func(key []byte) bool) *access {
	a := l.tokenOf(ctx, s, identity)
	if a == nil {
		return nil
	}
	key := a.key.PSK()
	defer clear(key)
	if !has(key) {
		l.counters.proofFailed.Add(1)
		return nil
	}
	return a
}

// admitKnown lets in a client that has proved its key in the TLS handshake. Time has passed since.
func (f *connection) admitKnown(c *layer.Conn) error {
	now := f.l.clock.Now()
	if !now.Before(f.known.expires) {
		return f.refuse(c, wire.NotAuthorized, ErrExpired)
	}
	if err := f.l.revoked.check(f.known, now); err != nil {
		return f.refuse(c, wire.NotAuthorized, err)
	}
	return f.admit(c, f.known)
}
