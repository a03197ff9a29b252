package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
)

// testKey is a key whose secret counts up from first.
func testKey(t testing.TB, filter string, first byte) Key {
	t.Helper()
	k, err := key.New(filter, count(first, key.SecretSize))
	require.NoError(t, err)
	return k
}

func testSealer(t testing.TB, cfg Config) *Sealer {
	t.Helper()
	s, err := New(XAES(), cfg)
	require.NoError(t, err)
	return s
}

// pair is two parties with one key.
func pair(t testing.TB, filter string) (alice, bob *Sealer) {
	return testSealer(t, Config{Keys: []Key{testKey(t, filter, 1)}}), testSealer(t, Config{Keys: []Key{testKey(t, filter, 1)}})
}

func TestSealOpen(t *testing.T) {
	alice, bob := pair(t, "site/#")
	for _, n := range []int{0, 1, 15, 16, 64, 1024, 1 << 20} {
		payload := bytes.Repeat([]byte{0x5A}, n)
		sealed, err := alice.Seal("site/7/temp", payload)
		require.NoError(t, err)
		require.Len(t, sealed, n+42)
		got, err := bob.Open("site/7/temp", sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))
		_, err = bob.Open("site/7/temp", sealed)
		require.ErrorIs(t, err, ErrReplay)
	}
}

func TestNewRefuses(t *testing.T) {
	k := testKey(t, "a", 1)
	signer := ed25519.NewKeyFromSeed(count(0, 32))
	pub := signer.Public().(ed25519.PublicKey)
	smallOrderKey, err := io.ReadAll(strings.NewReader("\xec" + strings.Repeat("\xff", 30) + "\xff"))
	require.NoError(t, err)
	for name, cfg := range map[string]Config{
		"no keys":            {},
		"zero key":           {Keys: []Key{{}}},
		"a short MaxAge":     {Keys: []Key{k}, MaxAge: time.Millisecond},
		"negative MaxAge":    {Keys: []Key{k}, MaxAge: -time.Second},
		"MaxAge of 200 y":    {Keys: []Key{k}, MaxAge: 200 * 365 * 24 * time.Hour},
		"MaxSessions":        {Keys: []Key{k}, MaxSessions: -1},
		"not an Ed25519 key": {Keys: []Key{k}, Signer: otherSigner{}},
		"Signer unset":       {Keys: []Key{k}, Signer: ed25519.PrivateKey(nil)},
		"short Signer":       {Keys: []Key{k}, Signer: signer[:32]},
		"short public key":   {Keys: []Key{k}, Publishers: []ed25519.PublicKey{pub[:31]}},
		"empty public key":   {Keys: []Key{k}, Publishers: []ed25519.PublicKey{nil}},
		"public key unset":   {Keys: []Key{k}, Publishers: []ed25519.PublicKey{pub, make([]byte, 32)}},
		"small order":        {Keys: []Key{k}, Publishers: []ed25519.PublicKey{smallOrderKey}},
	} {
		_, err := New(XAES(), cfg)
		require.ErrorContains(t, err, "mqttsec: ", name)
	}
	broken := XAES()
	broken.New = func(*[32]byte, *[12]byte) (cipher.AEAD, error) { return nil, errors.New("no such cipher") }
	_, err = New(broken, Config{Keys: []Key{k}})
	require.ErrorContains(t, err, "no such cipher")
}

func TestRotation(t *testing.T) {
	older, newer := testKey(t, "site/#", 1), testKey(t, "site/#", 2)
	before := testSealer(t, Config{Keys: []Key{older}})
	during := testSealer(t, Config{Keys: []Key{newer, older}})
	after := testSealer(t, Config{Keys: []Key{newer}})
	open := func(s *Sealer, by *Sealer, want error) {
		t.Helper()
		sealed, err := by.Seal("site/7", []byte("x"))
		require.NoError(t, err)
		_, err = s.Open("site/7", sealed)
		require.ErrorIs(t, err, want)
	}
	open(during, before, nil)
	open(during, after, nil)
	open(after, during, nil)
	open(before, during, ErrUnknownKey)
	open(after, before, ErrUnknownKey)
	open(before, after, ErrUnknownKey)
}

// The first key whose filter matches seals, the most special one or not.
func TestKeyOrder(t *testing.T) {
	wide, narrow := testKey(t, "#", 1), testKey(t, "site/7", 2)
	for _, keys := range [][]Key{{wide, narrow}, {narrow, wide}} {
		s := testSealer(t, Config{Keys: keys})
		sealed, err := s.Seal("site/7", nil)
		require.NoError(t, err)
		l, err := testSealer(t, Config{Keys: keys[:1]}).derive("site/7")
		require.NoError(t, err)
		require.Equal(t, l.keys[0].id[:], sealed[idAt:sessionAt])
	}
}

func TestAppend(t *testing.T) {
	alice, bob := pair(t, "#")
	payload := []byte("payload")
	for _, room := range []int{0, 10, 200} {
		dst := append(make([]byte, 0, 3+room), "dst"...)
		sealed, err := alice.AppendSeal(dst, "a", payload)
		require.NoError(t, err)
		require.Equal(t, "dst", string(sealed[:3]))
		opened, err := bob.AppendOpen(dst, "a", bytes.Clone(sealed[3:]))
		require.NoError(t, err)
		require.Equal(t, "dstpayload", string(opened))
	}
	sealed, err := alice.Seal("a", payload)
	require.NoError(t, err)
	opened, err := bob.AppendOpen(sealed[26:26], "a", sealed)
	require.NoError(t, err)
	require.Equal(t, "payload", string(opened))
	require.Same(t, &sealed[26], &opened[0], "in place")
}

// What has been decrypted and is refused after all does not stay in the buffer.
func TestRefusedPlaintextIsWiped(t *testing.T) {
	k := testKey(t, "#", 1)
	signer := testSealer(t, Config{Keys: []Key{k}, Signer: ed25519.NewKeyFromSeed(count(0, 32))})
	other := ed25519.NewKeyFromSeed(count(1, 32)).Public().(ed25519.PublicKey)
	s := testSealer(t, Config{Keys: []Key{k}, Publishers: []ed25519.PublicKey{other}})
	sealed, err := signer.Seal("a", []byte("payload"))
	require.NoError(t, err)
	_, err = s.AppendOpen(sealed[26:26], "a", sealed)
	require.ErrorIs(t, err, ErrAuthentication)
	require.Equal(t, make([]byte, 68+7), sealed[26:26+68+7])
}

func TestAllocations(t *testing.T) {
	if raceEnabled() {
		t.Skip("the race detector allocates")
	}
	alice, bob := pair(t, "#")
	payload, sealed, plain := make([]byte, 64), make([]byte, 0, 200), make([]byte, 0, 200)
	seal := func() { sealed, _ = alice.AppendSeal(sealed[:0], "site/7/temp", payload) }
	require.Zero(t, testing.AllocsPerRun(1000, seal))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		seal()
		_, err := bob.AppendOpen(plain, "site/7/temp", sealed)
		if err != nil {
			panic(err)
		}
	}))
	in, foreign := []byte("site/7/temp"), []byte("x")
	none := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	none.covers(foreign)
	require.Zero(t, testing.AllocsPerRun(1000, func() { none.covers(foreign); none.covers(in) }))
}

// raceEnabled tells by what the race detector does to sync.Pool: it drops values.
func raceEnabled() bool {
	p := sync.Pool{New: func() any { return new(int) }}
	kept := 0
	for range 200 {
		x := p.Get()
		p.Put(x)
		if p.Get() == x {
			kept++
		}
	}
	return kept < 190
}

func TestProperties(t *testing.T) {
	alice, bob := pair(t, "#")
	for _, n := range []int{1, 127, 128, 16383, 16384, 70000} {
		m := Message{Topic: []byte("a"), Properties: bytes.Repeat([]byte{7}, n), Payload: []byte("payload")}
		sealed, err := alice.seal(nil, &m)
		require.NoError(t, err)
		require.Len(t, sealed, alice.sealedSize(&m))
		require.NotZero(t, sealed[flagsAt]&flagProperties)
		o, err := bob.open(nil, &Message{Topic: []byte("a"), Payload: sealed}, nil, nil)
		require.NoError(t, err)
		require.Equal(t, m.Properties, o.Properties)
		require.Equal(t, "payload", string(o.Payload))
		got, err := bob.Open("a", sealed)
		require.NoError(t, err)
		require.Equal(t, "payload", string(got), "a receiver without properties gets the payload")
	}
}

// An authentic message whose inside does not parse is malformed.
func TestMalformedInside(t *testing.T) {
	for name, plain := range map[string]string{
		"no properties":    "\x00payload",
		"too long":         "\x09payload.",
		"no length":        "\x80",
		"overlong length":  "\x81\x00xpayload",
		"five-byte length": "\x81\x80\x80\x80\x01x",
	} {
		alice, bob := pair(t, "#")
		l, err := alice.learn("a")
		require.NoError(t, err)
		b, err := alice.newBox(&l.keys[0], [12]byte{1})
		require.NoError(t, err)
		ln := newLine()
		putHeader(ln.header, 1, flagProperties, &l.keys[0].id, &[12]byte{1}, 1, 1)
		ln.setTopic("a")
		nonce := ln.makeNonce(&alice.suite)
		frame := b.aead.Seal(bytes.Clone(ln.header[:]), nonce, []byte(plain), ln.ad)
		_, err = bob.Open("a", frame)
		require.ErrorIs(t, err, ErrMalformed, name)
		require.Zero(t, bob.own.Size(), name)
	}
}

func TestReseal(t *testing.T) {
	private := ed25519.NewKeyFromSeed(count(0, 32))
	for name, cfg := range map[string]Config{"plain": {}, "signed": {Signer: private}} {
		t.Run(name, func(t *testing.T) {
			cfg.Keys = []Key{testKey(t, "site/#", 1), testKey(t, "site/+", 2)}
			s := testSealer(t, cfg)
			m := Message{Topic: []byte("site/7"), Retain: true, Properties: []byte{1, 1}, Payload: []byte("payload")}
			frame, err := s.seal(nil, &m)
			require.NoError(t, err)
			st := s.stamp(frame)
			for range 2 {
				again, same, err := s.reseal(nil, &m, st)
				require.NoError(t, err)
				require.True(t, same)
				require.Equal(t, frame, again)
				s.session.Store(newSession()) // also when the session is another by now
				_, err = s.Seal("site/7", nil)
				require.NoError(t, err)
			}
			for what, edit := range map[string]func(*Message){
				"topic":          func(m *Message) { m.Topic = []byte("site/8") },
				"no such topic":  func(m *Message) { m.Topic = []byte("else") },
				"retain":         func(m *Message) { m.Retain = false },
				"will":           func(m *Message) { m.Will = true },
				"properties":     func(m *Message) { m.Properties = []byte{1, 0} },
				"no properties":  func(m *Message) { m.Properties = nil },
				"payload":        func(m *Message) { m.Payload = []byte("Payload") },
				"longer payload": func(m *Message) { m.Payload = []byte("payload ") },
				"no payload":     func(m *Message) { m.Payload = nil },
			} {
				other := m
				edit(&other)
				dst := append(make([]byte, 0, 300), "dst"...)
				out, same, err := s.reseal(dst, &other, st)
				if what == "no such topic" {
					require.ErrorIs(t, err, ErrNoKey)
				} else {
					require.NoError(t, err, what)
				}
				require.False(t, same, what)
				require.Equal(t, "dst", string(out), what)
				require.Equal(t, make([]byte, 150), dst[headerLen+3:headerLen+153], "%s: wiped", what)
			}
		})
	}
	s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, Signer: randomSigner{private}})
	m := Message{Topic: []byte("a")}
	frame, err := s.seal(nil, &m)
	require.NoError(t, err)
	_, same, err := s.reseal(nil, &m, s.stamp(frame))
	require.NoError(t, err)
	require.False(t, same, "not the same frame, so not sent")
}

func TestConcurrentUse(t *testing.T) {
	alice, bob := pair(t, "#")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 { // fewer than a window in all, for some may be held up
				topic := fmt.Sprint("t/", (g*i)%40)
				sealed, err := alice.Seal(topic, []byte(topic))
				if err != nil {
					panic(err)
				}
				got, err := bob.Open(topic, sealed)
				if err != nil || string(got) != topic {
					panic(fmt.Sprint(err, string(got)))
				}
				bob.covers([]byte(topic))
			}
		})
	}
	wg.Wait()
}

// TestPublisherAndSubscriberShareASealer opens messages of many sessions on a topic that
// is being sealed for, for the race detector.
func TestPublisherAndSubscriberShareASealer(t *testing.T) {
	shared := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
	_, err := shared.Seal("a", nil)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		other := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
		wg.Go(func() {
			for range 50 {
				_, err := shared.Seal("a", nil)
				require.NoError(t, err)
				sealed, err := other.Seal("a", nil)
				require.NoError(t, err)
				_, err = shared.Open("a", sealed)
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
}
