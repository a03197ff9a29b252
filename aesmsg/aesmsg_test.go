package aesmsg

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
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

// The mistakes of a first day are told by errors that name what to change.
func TestMistakesAreExplained(t *testing.T) {
	key, err := GenerateKey("site/#")
	require.NoError(t, err)
	branch, err := key.Sub("site/7/#")
	require.NoError(t, err)
	sealer, err := New(Config{Keys: []Key{key}})
	require.NoError(t, err)
	of := func(cfg Config) error { _, err := New(cfg); return err }
	made := func(_ any, err error) error { return err }
	read := func(text string) error { return new(Key).UnmarshalText([]byte(text)) }

	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"no keys":            {of(Config{}), []string{"Keys is empty"}},
		"zero key":           {of(Config{Keys: []Key{key, {}}}), []string{"Keys[1]", "zero Key", "UnmarshalText"}},
		"key twice":          {of(Config{Keys: []Key{key, key}}), []string{"Keys[0]", "Keys[1]", "the same"}},
		"key and its branch": {of(Config{Keys: []Key{key, branch}}), []string{"site/7/#", "sub-key"}},
		"negative MaxAge":    {of(Config{Keys: []Key{key}, MaxAge: -time.Minute}), []string{"MaxAge is -1m0s", "at least one second"}},
		"Signer not loaded":  {of(Config{Keys: []Key{key}, Signer: ed25519.PrivateKey(nil)}), []string{"Signer has 0 bytes"}},
		"no filter":          {made(GenerateKey("")), []string{"filter is empty"}},
		"bad filter":         {made(GenerateKey("site#")), []string{"site#", "whole levels"}},
		"short secret":       {made(NewKey("site/#", []byte("hunter2"))), []string{"7 bytes, not 32"}},
		"zero secret":        {made(NewKey("site/#", make([]byte, 32))), []string{"one byte repeated"}},
		"other branch":       {made(key.Sub("plant/#")), []string{"plant/#", "site/#"}},
		"no branch":          {made(key.Sub("site/+")), []string{"no level more"}},
		"not a key's text":   {read("hunter2"), []string{"mqttsec:"}},
		"topic without key":  {made(sealer.Seal("plant/7", nil)), []string{"no key", "plant/7"}},
		"too deep a topic":   {made(sealer.Seal("site"+strings.Repeat("/7", 256), nil)), []string{"topic name", "257 levels", "MaxLevels"}},
		"filter for a topic": {made(sealer.Seal("site/#", nil)), []string{"topic name", "site/#"}},
	} {
		for _, want := range c.want {
			require.ErrorContains(t, c.err, want, name)
		}
	}
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

// Printing a Sealer, on purpose or as part of something, shows no secret. Time stands
// still meanwhile: fmt reads without care what the Sealer's clock may be writing.
func TestSealerIsNotPrinted(t *testing.T) { synctest.Test(t, testSealerIsNotPrinted) }

func testSealerIsNotPrinted(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuv")
	key, err := NewKey("a/#", secret)
	require.NoError(t, err)
	private := ed25519.NewKeyFromSeed(secret)
	s, err := New(Config{Keys: []Key{key}, Signer: private})
	require.NoError(t, err)
	_, err = s.Seal("a/b", nil)
	require.NoError(t, err)
	type app struct {
		Sealer *Sealer
		sealer *Sealer
		value  Sealer
	}
	a := app{s, s, *s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%p"} {
		for _, v := range []any{s, *s, a, &a, []any{s}, map[string]any{"s": a}} {
			printed := fmt.Sprintf(verb, v)
			for _, form := range []string{"48 49 50", "0x30, 0x31", "303132", "012345", "30 31 32"} {
				require.NotContains(t, printed, form, verb)
			}
		}
	}
}
