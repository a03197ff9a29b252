package ace

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/pop"
)

func TestT2PSK(t *testing.T) {
	secret := bytes.Repeat([]byte{0xa5, 0x07}, 16)
	key, err := Secret(secret)
	require.NoError(t, err)
	token := Token{Raw: []byte{0xd8, 0x3d, 0x00}, Key: key, KeyID: "key-7", Expires: time.Now().Add(time.Hour)}
	inJSON, err := pop.PSKIdentityJSON("key-7")
	require.NoError(t, err)
	for form, want := range map[PSKIdentity]string{PSKToken: string(token.Raw), PSKKeyIDCBOR: pop.PSKIdentityCBOR("key-7"), PSKKeyIDJSON: inJSON} {
		identity, psk, err := PSK(Static(token), form)(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, identity)
		require.Equal(t, secret, psk)
	}

	unnamed, expired, public := token, token, token
	unnamed.KeyID = ""
	expired.Expires = time.Now().Add(-time.Second)
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	public.Key, err = Signer(private)
	require.NoError(t, err)
	for _, tt := range []struct {
		token Token
		form  PSKIdentity
		want  error
	}{{unnamed, PSKKeyIDCBOR, ErrToken}, {expired, PSKToken, ErrTokenExpired}, {public, PSKToken, ErrToken}, {token, 9, ErrConfig}} {
		_, _, err := PSK(Static(tt.token), tt.form)(t.Context())
		require.Truef(t, errors.Is(err, tt.want), "%v", err)
	}
}

// TestPSKByTheClockGiven: whether a token has expired is told by the clock of what gives it.
func TestPSKByTheClockGiven(t *testing.T) {
	clock := newFakeClock() // years ago
	s := newHandAS(t)
	s.says(200, "application/ace+json", symmetricAnswer)
	cfg := s.config()
	cfg.Clock = clock
	as, err := NewAS(cfg)
	require.NoError(t, err)
	cache, err := NewCache(CacheConfig{Source: as, Clock: clock})
	require.NoError(t, err)
	for _, source := range []TokenSource{as, cache} {
		identity, psk, err := PSK(source, PSKToken)(t.Context())
		require.NoErrorf(t, err, "%T", source)
		require.Equal(t, "ref-token-0001", identity)
		require.Len(t, psk, 32)
	}
}
