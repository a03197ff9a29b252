package ace

import (
	"context"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/pop"
)

// PSKIdentity is what a broker is told a key is, when the key of a token is TLS's pre-shared key (RFC 9202, section
// 3.3.2).
type PSKIdentity int

const (
	// PSKToken is the token itself. The broker need not have seen it before; it goes over the network in the clear,
	// where it is of no use without the key.
	PSKToken PSKIdentity = iota
	// PSKKeyIDCBOR and PSKKeyIDJSON are the identifier of the key, for a token that the broker has got by [Upload], in
	// the form that the broker reads.
	PSKKeyIDCBOR
	// PSKKeyIDJSON is described above.
	PSKKeyIDJSON
)

// PSK returns what the Credentials of a tlspsk.Config may be: before each handshake it takes a token from source, whose
// key must be a secret shared with the broker, and gives the key to TLS. Nothing is said in CONNECT (RFC 9431, section
// 2.2.1, "TLS:Known(PSK),MQTT:none"): the connection ends with its token, and the next one begins with another.
//
//	psk, err := tlspsk.New(tlspsk.Config{Credentials: ace.PSK(ace.NewCache(...), ace.PSKToken)})
//	cm, err := autopaho.NewConnection(ctx, psk.Wrap(cfg))
//
// With an identifier, source has to upload the token, or give one that has been. Whether a token has expired is told by
// the Clock of source if that is a [Cache] or an [AS], and by the real one else.
func PSK(source TokenSource, identity PSKIdentity) func(ctx context.Context) (string, []byte, error) {
	clock := clockOf(source)
	return func(ctx context.Context) (string, []byte, error) {
		token, err := source.Token(ctx)
		if err != nil {
			return "", nil, err
		}
		return token.psk(identity, clock.Now())
	}
}

// clockOf returns the clock that a source was configured with.
func clockOf(source TokenSource) Clock {
	switch s := source.(type) {
	case *Cache:
		return s.clock
	case *AS:
		return s.clock
	}
	return orReal(nil)
}

// psk is the identity and the key of a token.
func (t *Token) psk(identity PSKIdentity, now time.Time) (string, []byte, error) {
	if err := t.valid(now); err != nil {
		return "", nil, err
	}
	key := t.Key.Verifier().PSK()
	switch {
	case key == nil:
		return "", nil, fmt.Errorf("%w: its key is not a shared secret, which a pre-shared key of TLS is", ErrToken)
	case identity == PSKToken:
		return string(t.Raw), key, nil
	case t.KeyID == "":
		return "", nil, fmt.Errorf("%w: its key has no identifier", ErrToken)
	case identity == PSKKeyIDCBOR:
		return pop.PSKIdentityCBOR(t.KeyID), key, nil
	case identity == PSKKeyIDJSON:
		name, err := pop.PSKIdentityJSON(t.KeyID)
		return name, key, err
	}
	return "", nil, fmt.Errorf("%w: unknown PSKIdentity %d", ErrConfig, identity)
}
