package seal

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/replay"
)

// A signature for the all-zero public key can be made by anyone: that is why it
// is refused.
func TestSmallOrderKeysAreForgeable(t *testing.T) {
	forged := 0
	for i := range 64 {
		signature := make([]byte, 64)
		signature[0] = 1 // R is the identity, S is 0
		if ed25519.Verify(make([]byte, 32), []byte{byte(i)}, signature) {
			forged++
		}
	}
	require.Positive(t, forged)
}

// One is a y of small order in its second encoding too, which is p + 1.
func TestSmallOrderKeysInEachEncoding(t *testing.T) {
	one := bytes.Repeat([]byte{0xFF}, 32)
	one[0] = 0xEE
	for _, last := range []byte{0x7F, 0xFF} {
		one[31] = last
		_, err := New(XAES(), Config{Keys: []Key{testKey(t, "#", 1)}, Publishers: []ed25519.PublicKey{one}})
		require.ErrorContains(t, err, "small order")
	}
}

type otherSigner struct{}

func (otherSigner) Public() crypto.PublicKey { return "rsa" }
func (otherSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no")
}

func TestSignatures(t *testing.T) {
	key := testKey(t, "#", 1)
	private := ed25519.NewKeyFromSeed(count(0, 32))
	public := private.Public().(ed25519.PublicKey)
	stranger := ed25519.NewKeyFromSeed(count(1, 32))
	by := func(s crypto.Signer) *Sealer { return testSealer(t, Config{Keys: []Key{key}, Signer: s}) }
	for name, c := range map[string]struct {
		from       *Sealer
		publishers []ed25519.PublicKey
		publisher  ed25519.PublicKey
		err        error
	}{
		"known":           {by(private), []ed25519.PublicKey{public}, public, nil},
		"one of two":      {by(private), []ed25519.PublicKey{stranger.Public().(ed25519.PublicKey), public}, public, nil},
		"stranger":        {by(stranger), []ed25519.PublicKey{public}, nil, ErrAuthentication},
		"unsigned":        {by(nil), []ed25519.PublicKey{public}, nil, ErrAuthentication},
		"nobody asks":     {by(private), nil, nil, nil},
		"nobody to check": {by(nil), nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			to := testSealer(t, Config{Keys: []Key{key}, Publishers: c.publishers})
			sealed, err := c.from.Seal("a", []byte("payload"))
			require.NoError(t, err)
			payload, publisher, err := to.OpenSigned("a", sealed)
			require.ErrorIs(t, err, c.err)
			if c.err == nil {
				require.Equal(t, "payload", string(payload))
				require.Equal(t, c.publisher, publisher)
				_, err = to.Open("a", sealed)
				require.ErrorIs(t, err, ErrReplay)
			} else {
				require.Nil(t, payload)
				require.Zero(t, to.own.Size())
			}
		})
	}
}

// A holder of the key cannot pass on somebody's signature: it covers header and topic.
func TestSignatureIsBound(t *testing.T) {
	key := testKey(t, "#", 1)
	private := ed25519.NewKeyFromSeed(count(0, 32))
	author := testSealer(t, Config{Keys: []Key{key}, Signer: private})
	insider := testSealer(t, Config{Keys: []Key{key}})
	reader := func() *Sealer {
		return testSealer(t, Config{Keys: []Key{key}, Publishers: []ed25519.PublicKey{private.Public().(ed25519.PublicKey)}})
	}
	sealed, err := author.Seal("a", []byte("payload"))
	require.NoError(t, err)
	o, err := insider.open(nil, &Message{Topic: []byte("a"), Payload: sealed}, nil, nil)
	require.NoError(t, err)
	plain := o.Payload[:len(o.Payload):len(o.Payload)]
	require.Equal(t, "payload", string(plain))
	l, err := insider.derive("a")
	require.NoError(t, err)
	b, err := insider.newBox(&l.keys[0], [12]byte(sealed[sessionAt:]))
	require.NoError(t, err)
	ln := newLine()
	copy(ln.header[:], sealed)
	ln.setTopic("a")
	nonce := ln.makeNonce(&insider.suite)
	whole, err := b.aead.Open(nil, nonce, sealed[headerLen:], ln.ad)
	require.NoError(t, err)
	// Sealed again as it was it opens; under any other header or topic it does not.
	forge := func(topic string, edit func(header []byte)) error {
		l, err := insider.derive(topic)
		require.NoError(t, err)
		copy(ln.header[:], sealed)
		copy(ln.header[idAt:], l.keys[0].id[:])
		edit(ln.header[:])
		b, err := insider.newBox(&l.keys[0], [12]byte(ln.header[sessionAt:]))
		require.NoError(t, err)
		ln.setTopic(topic)
		nonce := ln.makeNonce(&insider.suite)
		_, err = reader().Open(topic, b.aead.Seal(bytes.Clone(ln.header[:]), nonce, whole, ln.ad))
		return err
	}
	require.NoError(t, forge("a", func([]byte) {}))
	require.ErrorIs(t, forge("b", func([]byte) {}), ErrAuthentication)
	require.ErrorIs(t, forge("a", func(h []byte) { h[seqAt+3]++ }), ErrAuthentication)
	require.ErrorIs(t, forge("a", func(h []byte) { h[timeAt+3]++ }), ErrAuthentication)
	require.ErrorIs(t, forge("a", func(h []byte) { h[sessionAt]++ }), ErrAuthentication)
	require.ErrorIs(t, forge("a", func(h []byte) { h[flagsAt] |= flagRetain }), ErrAuthentication)
	require.ErrorIs(t, forge("a", func(h []byte) { h[flagsAt] |= flagWill }), ErrAuthentication)
}

// brokenSigner fails in one of the ways a security module can.
type brokenSigner struct {
	crypto.Signer
	err error
	n   int
}

func (b brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, b.n), b.err
}

func TestSignerFails(t *testing.T) {
	private := ed25519.NewKeyFromSeed(count(0, 32))
	gone := errors.New("module unplugged")
	s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, Signer: brokenSigner{private, gone, 64}})
	dst := make([]byte, 3, 200)
	_, err := s.AppendSeal(dst, "a", []byte("payload"))
	require.ErrorIs(t, err, gone)
	require.NotContains(t, string(dst[:200]), "payload", "no plaintext stays behind")
	out, err := s.seal(dst, &Message{Topic: []byte("a"), Payload: []byte("payload")})
	require.ErrorIs(t, err, gone)
	require.Equal(t, dst, out)
	s = testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, Signer: brokenSigner{private, nil, 63}})
	_, err = s.Seal("a", nil)
	require.ErrorContains(t, err, "not an Ed25519 signature")
}

// randomSigner signs with another signature each time, as the standard forbids and
// a module may.
type randomSigner struct{ ed25519.PrivateKey }

func (r randomSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	b := make([]byte, 64)
	rand.Read(b)
	return b, nil
}

// A holder of the key who is no publisher goes on in the session that a publisher was just heard in, where all but the
// signature is right. No short cut of the receiver is one past the signature.
func TestUnsignedAfterSigned(t *testing.T) {
	key := testKey(t, "#", 1)
	private := ed25519.NewKeyFromSeed(count(0, 32))
	author := testSealer(t, Config{Keys: []Key{key}, Signer: private})
	insider := forger{testSealer(t, Config{Keys: []Key{key}})}
	stranger := forger{testSealer(t, Config{Keys: []Key{key}, Signer: ed25519.NewKeyFromSeed(count(1, 32))})}
	s := testSealer(t, Config{Keys: []Key{key}, Publishers: []ed25519.PublicKey{private.Public().(ed25519.PublicKey)}})
	conn := s.newMemory()
	opens := []func([]byte) error{
		func(frame []byte) error { _, err := s.Open("a", frame); return err },
		func(frame []byte) error { _, _, err := s.OpenSigned("a", frame); return err },
		func(frame []byte) error {
			_, err := s.open(nil, &Message{Topic: []byte("a"), Payload: frame}, &replay.Arrival{}, conn)
			return err
		},
	}
	for range 3 { // the first is opened in the general way
		for _, open := range opens {
			sealed, err := author.Seal("a", []byte("payload"))
			require.NoError(t, err)
			require.NoError(t, open(sealed))
			at, next := binary.BigEndian.Uint32(sealed[timeAt:]), binary.BigEndian.Uint32(sealed[seqAt:])+1
			for _, flags := range []byte{0, flagOnce, flagRetain} {
				forged := insider.under(t, "a", flags, [12]byte(sealed[sessionAt:]), at, next, "forged")
				require.ErrorIs(t, open(forged), ErrAuthentication)
				forged = insider.under(t, "a", flags, [12]byte(sealed[sessionAt:]), at, next, "") // no room for a hint
				require.ErrorIs(t, open(forged), ErrAuthentication)
				forged = stranger.under(t, "a", flags, [12]byte(sealed[sessionAt:]), at, next, "forged")
				require.ErrorIs(t, open(forged), ErrAuthentication)
			}
		}
	}
}
