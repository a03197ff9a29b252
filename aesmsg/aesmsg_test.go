package aesmsg

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/seal"
)

// The constants are what the format adds.
func TestOverhead(t *testing.T) {
	key, err := GenerateKey("a")
	require.NoError(t, err)
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	for _, cfg := range []Config{{}, {Signer: private}} {
		cfg.Keys = []Key{key}
		s, err := New(cfg)
		require.NoError(t, err)
		sealed, err := s.AppendSeal(nil, "a", make([]byte, 100))
		require.NoError(t, err)
		want := 100 + Overhead
		if cfg.Signer != nil {
			want += SignedOverhead
		}
		require.Len(t, sealed, want)
		payload, err := s.AppendOpen(nil, "a", sealed)
		require.NoError(t, err)
		require.Equal(t, make([]byte, 100), payload)
	}
}

func TestNewRefuses(t *testing.T) {
	key, err := GenerateKey("a/#")
	require.NoError(t, err)
	for name, cfg := range map[string]Config{
		"no key":       {},
		"zero key":     {Keys: []Key{{}}},
		"key twice":    {Keys: []Key{key, key}},
		"short MaxAge": {Keys: []Key{key}, MaxAge: time.Nanosecond},
	} {
		s, err := New(cfg)
		require.Error(t, err, name)
		require.Nil(t, s, name)
	}
	_, err = NewKey("a", make([]byte, 32))
	require.ErrorIs(t, err, ErrInvalidKey)
}

// What a caller does to its Config after New changes nothing.
func TestConfigIsCopied(t *testing.T) {
	key, err := GenerateKey("a")
	require.NoError(t, err)
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	cfg := Config{Keys: []Key{key}, Signer: private, Publishers: []ed25519.PublicKey{public}}
	s, err := New(cfg)
	require.NoError(t, err)
	cfg.Keys[0] = Key{}
	clear(public)
	cfg.Publishers[0] = nil
	sealed, err := s.Seal("a", []byte("x"))
	require.NoError(t, err)
	payload, by, err := s.OpenSigned("a", sealed)
	require.NoError(t, err)
	require.Equal(t, "x", string(payload))
	require.Equal(t, private.Public(), by)
}

// A message of this package's is XAES-256-GCM, suite 1.
func TestSuite(t *testing.T) {
	require.EqualValues(t, 1, seal.XAES().ID)
	key, err := GenerateKey("a")
	require.NoError(t, err)
	s, err := New(Config{Keys: []Key{key}})
	require.NoError(t, err)
	sealed, err := s.Seal("a", nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0xFC, 0x10}, sealed[:2])
}
