package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crypto"

	"github.com/stretchr/testify/require"
)

// testKey is a key whose secret counts up from first.
func testKey(t testing.TB, filter string, first byte) Key {
	t.Helper()
	k, err := NewKey(filter, count(first, SecretSize))
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
	key := testKey(t, "a", 1)
	signer := ed25519.NewKeyFromSeed(count(0, 32))
	pub := signer.Public().(ed25519.PublicKey)
	smallOrderKey, err := io.ReadAll(strings.NewReader("\xec" + strings.Repeat("\xff", 30) + "\xff"))
	require.NoError(t, err)
	for name, cfg := range map[string]Config{
		"no keys":            {},
		"zero key":           {Keys: []Key{{}}},
		"a short MaxAge":     {Keys: []Key{key}, MaxAge: time.Millisecond},
		"negative MaxAge":    {Keys: []Key{key}, MaxAge: -time.Second},
		"MaxAge of 200 y":    {Keys: []Key{key}, MaxAge: 200 * 365 * 24 * time.Hour},
		"MaxSessions":        {Keys: []Key{key}, MaxSessions: -1},
		"not an Ed25519 key": {Keys: []Key{key}, Signer: otherSigner{}},
		"short public key":   {Keys: []Key{key}, Publishers: []ed25519.PublicKey{pub[:31]}},
		"empty public key":   {Keys: []Key{key}, Publishers: []ed25519.PublicKey{nil}},
		"public key unset":   {Keys: []Key{key}, Publishers: []ed25519.PublicKey{pub, make([]byte, 32)}},
		"small order":        {Keys: []Key{key}, Publishers: []ed25519.PublicKey{smallOrderKey}},
	} {
		_, err := New(XAES(), cfg)
		require.ErrorContains(t, err, "mqttsec: ", name)
	}
	broken := XAES()
	broken.New = func(*[32]byte, *[12]byte) (cipher.AEAD, error) { return nil, errors.New("no such cipher") }
	_, err = New(broken, Config{Keys: []Key{key}})
	require.ErrorContains(t, err, "no such cipher")
}

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

type otherSigner struct{}

func (otherSigner) Public() crypto.PublicKey { return "rsa" }
func (otherSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no")
}

func TestTopics(t *testing.T) {
	alice, bob := pair(t, "site/#")
	long := "site/" + strings.Repeat("x", 65530)
	for topic, want := range map[string]error{
		"site": nil, "site/": nil, "site/$x": nil, long: nil, "site/" + strings.Repeat("y", 2000): nil,
		"sit": ErrNoKey, "Site/7": ErrNoKey, "/site/7": ErrNoKey,
		"": ErrTopicName, "site/+": ErrTopicName, "site/#": ErrTopicName, "site/\x00": ErrTopicName, long + "x": ErrTopicName,
	} {
		for range 2 {
			sealed, err := alice.Seal(topic, []byte("x"))
			require.ErrorIs(t, err, want, "%.20q", topic)
			if err != nil {
				continue
			}
			got, err := bob.Open(topic, sealed)
			require.NoError(t, err)
			require.Equal(t, "x", string(got))
		}
	}
}

func TestCovers(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1), testKey(t, "+/open", 2)}})
	for range 2 { // the second time from memory
		for name, want := range map[string]bool{
			"site": true, "site/7": true, "x/open": true, "site/+": true, "x": false, "$SYS/open": false, "": false,
			strings.Repeat("x", 2000): false, "site/" + strings.Repeat("x", 2000): true,
		} {
			require.Equal(t, want, s.covers([]byte(name)), "%.20q", name)
		}
	}
	require.True(t, s.topics.isForeign([]byte("x")))
	require.False(t, s.topics.isForeign([]byte(strings.Repeat("x", 2000))), "too long to be kept")
	require.Nil(t, s.topics.findString("site/7"), "a question is no reason to remember")
}

// Who has no key cannot drive a topic in use out of the cache.
func TestForgeriesAreNotRemembered(t *testing.T) {
	alice, bob := pair(t, "#")
	frame, err := alice.Seal("a", []byte("x"))
	require.NoError(t, err)
	for i := range 100 {
		topic := fmt.Sprint("forged/", i)
		forged := bytes.Clone(frame)
		l, err := bob.derive(topic) // with the right key id even
		require.NoError(t, err)
		copy(forged[idAt:], l.keys[0].id[:])
		_, err = bob.Open(topic, forged)
		require.ErrorIs(t, err, ErrAuthentication)
		require.Nil(t, bob.topics.findString(topic))
	}
	for i := range bob.boxes.rows {
		require.Nil(t, bob.boxes.rows[i].slot[0].Load())
	}
	_, err = bob.Open("a", frame)
	require.NoError(t, err)
	require.NotNil(t, bob.topics.findString("a"))
}

func TestManyTopicsAndSessions(t *testing.T) {
	bob := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, MaxSessions: 1 << 20})
	for i := range 3 {
		alice, _ := pair(t, "#")
		for j := range 3 * topicRows * ways / 2 {
			topic := fmt.Sprint("t/", j)
			sealed, err := alice.Seal(topic, []byte(topic))
			require.NoError(t, err)
			got, err := bob.Open(topic, sealed)
			require.NoError(t, err, "%d %d", i, j)
			require.Equal(t, topic, string(got))
		}
	}
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
	key := testKey(t, "#", 1)
	signer := testSealer(t, Config{Keys: []Key{key}, Signer: ed25519.NewKeyFromSeed(count(0, 32))})
	other := ed25519.NewKeyFromSeed(count(1, 32)).Public().(ed25519.PublicKey)
	s := testSealer(t, Config{Keys: []Key{key}, Publishers: []ed25519.PublicKey{other}})
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

// smallSuite has the nonces and the limits of a 64-bit cipher's suite.
func smallSuite() Suite {
	s := XAES()
	s.ID, s.Label, s.NonceTail, s.MaxPlaintext, s.MaxAD = 2, "mqttsec v1 small", 4, 1000, 100
	s.Budget, s.Calls = 100, func(plaintext, ad int) int { return plaintext }
	return s
}

func sessionOf(frame []byte) string { return string(frame[sessionAt:timeAt]) }

func seqOf(frame []byte) uint32 { return binary.BigEndian.Uint32(frame[seqAt:]) }

func TestSessionEndsWithItsBudget(t *testing.T) {
	s, err := New(smallSuite(), Config{Keys: []Key{testKey(t, "#", 1)}})
	require.NoError(t, err)
	used := map[string]int{}
	last := ""
	for i := range 200 {
		n := i % 40
		sealed, err := s.Seal("a", make([]byte, n))
		require.NoError(t, err)
		if _, known := used[sessionOf(sealed)]; !known {
			require.EqualValues(t, 1, seqOf(sealed))
		}
		used[sessionOf(sealed)] += n
		require.LessOrEqual(t, used[sessionOf(sealed)], 100)
		last = sessionOf(sealed)
	}
	require.Greater(t, len(used), 30)

	big, err := s.Seal("a", make([]byte, 101))
	require.NoError(t, err)
	require.NotContains(t, used, sessionOf(big), "a session to itself")
	require.EqualValues(t, 1, seqOf(big))
	after, err := s.Seal("a", nil)
	require.NoError(t, err)
	require.Equal(t, last, sessionOf(after), "the others go on")
}

func TestLimits(t *testing.T) {
	s, err := New(smallSuite(), Config{Keys: []Key{testKey(t, "#", 1)}})
	require.NoError(t, err)
	_, err = s.Seal("a", make([]byte, 1000))
	require.NoError(t, err)
	_, err = s.Seal("a", make([]byte, 1001))
	require.ErrorIs(t, err, ErrTooLarge)
	sealed, err := s.Seal(strings.Repeat("a", 64), nil)
	require.NoError(t, err)
	_, err = s.Open(strings.Repeat("a", 64), sealed)
	require.NoError(t, err)
	_, err = s.Seal(strings.Repeat("a", 65), nil)
	require.ErrorIs(t, err, ErrTooLarge)
	l, err := s.derive(strings.Repeat("a", 65))
	require.NoError(t, err)
	copy(sealed[idAt:], l.keys[0].id[:])
	_, err = s.Open(strings.Repeat("a", 65), sealed)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = s.Open("a", append(sealed, make([]byte, 1001)...))
	require.ErrorIs(t, err, ErrTooLarge)
	_, _, err = s.reseal(nil, &Message{Topic: []byte("a"), Payload: make([]byte, 1001)}, stamp{})
	require.NoError(t, err, "another message, whatever its size")
}

// A session ends with its last sequence number, and never wraps around.
func TestSessionEndsWithItsNumbers(t *testing.T) {
	alice, bob := pair(t, "#")
	alice.session.Load().seq.Store(math.MaxUint32 - 2)
	sessions := map[string][]uint32{}
	for range 5 {
		sealed, err := alice.Seal("a", nil)
		require.NoError(t, err)
		_, err = bob.Open("a", sealed)
		require.NoError(t, err)
		sessions[sessionOf(sealed)] = append(sessions[sessionOf(sealed)], seqOf(sealed))
	}
	require.Len(t, sessions, 2)
	for _, numbers := range sessions {
		require.Contains(t, [][]uint32{{math.MaxUint32 - 1, math.MaxUint32}, {1, 2, 3}}, numbers)
	}
}

// No two messages share session and number, however many seal at once and however
// often the session changes under them.
func TestNoncesAreUnique(t *testing.T) {
	s, err := New(smallSuite(), Config{Keys: []Key{testKey(t, "#", 1)}})
	require.NoError(t, err)
	var mu sync.Mutex
	seen := map[string]bool{}
	used := map[string]int{}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				m := Message{Topic: []byte(fmt.Sprint("t/", i%7)), Will: i%50 == 0, Payload: make([]byte, (g+i)%30)}
				sealed, err := s.seal(nil, &m)
				if err != nil {
					panic(err)
				}
				mu.Lock()
				nonce := string(sealed[sessionAt:timeAt]) + string(sealed[seqAt:headerLen])
				if seen[nonce] {
					panic("a nonce twice")
				}
				seen[nonce] = true
				used[sessionOf(sealed)] += len(m.Payload)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 4000)
	for _, n := range used {
		require.LessOrEqual(t, n, 100)
	}
}

func TestSessionsDiffer(t *testing.T) {
	alice, bob := pair(t, "#")
	a, err := alice.Seal("a", nil)
	require.NoError(t, err)
	b, err := bob.Seal("a", nil)
	require.NoError(t, err)
	require.NotEqual(t, sessionOf(a), sessionOf(b))
	will, err := alice.seal(nil, &Message{Topic: []byte("a"), Will: true})
	require.NoError(t, err)
	require.NotEqual(t, sessionOf(a), sessionOf(will))
	require.EqualValues(t, 1, seqOf(will))
	next, err := alice.Seal("a", nil)
	require.NoError(t, err)
	require.Equal(t, sessionOf(a), sessionOf(next))
	require.EqualValues(t, 2, seqOf(next), "a Will takes no number")
}

func TestProperties(t *testing.T) {
	alice, bob := pair(t, "#")
	for _, n := range []int{1, 127, 128, 16383, 16384, 70000} {
		m := Message{Topic: []byte("a"), Properties: bytes.Repeat([]byte{7}, n), Payload: []byte("payload")}
		sealed, err := alice.seal(nil, &m)
		require.NoError(t, err)
		require.Len(t, sealed, alice.sealedSize(&m))
		require.NotZero(t, sealed[flagsAt]&flagProperties)
		o, err := bob.open(nil, &Message{Topic: []byte("a"), Payload: sealed}, atRest, nil)
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
		sc := newScratch()
		putHeader(sc.header(), 1, flagProperties, &l.keys[0].id, &[12]byte{1}, 1, 1)
		nonce := sc.finish(&alice.suite, "a")
		frame := b.aead.Seal(bytes.Clone(sc.header()[:]), nonce, []byte(plain), sc.ad)
		_, err = bob.Open("a", frame)
		require.ErrorIs(t, err, ErrMalformed, name)
		require.Empty(t, bob.own.live.windows, name)
	}
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
				require.Empty(t, to.own.live.windows)
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
	o, err := insider.open(nil, &Message{Topic: []byte("a"), Payload: sealed}, atRest, nil)
	require.NoError(t, err)
	plain := o.Payload[:len(o.Payload):len(o.Payload)]
	require.Equal(t, "payload", string(plain))
	l, err := insider.derive("a")
	require.NoError(t, err)
	b, err := insider.newBox(&l.keys[0], [12]byte(sealed[sessionAt:]))
	require.NoError(t, err)
	sc := newScratch()
	copy(sc.header()[:], sealed)
	nonce := sc.finish(&insider.suite, "a")
	whole, err := b.aead.Open(nil, nonce, sealed[headerLen:], sc.ad)
	require.NoError(t, err)
	// Sealed again as it was it opens; under any other header or topic it does not.
	forge := func(topic string, edit func(header []byte)) error {
		l, err := insider.derive(topic)
		require.NoError(t, err)
		copy(sc.header()[:], sealed)
		copy(sc.header()[idAt:], l.keys[0].id[:])
		edit(sc.header()[:])
		b, err := insider.newBox(&l.keys[0], [12]byte(sc.header()[sessionAt:]))
		require.NoError(t, err)
		nonce := sc.finish(&insider.suite, topic)
		_, err = reader().Open(topic, b.aead.Seal(bytes.Clone(sc.header()[:]), nonce, whole, sc.ad))
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

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
		for i := range 50 {
			sealed, err := s.Seal("a", nil)
			require.NoError(t, err)
			require.EqualValues(t, time.Now().Unix(), binary.BigEndian.Uint32(sealed[timeAt:]), i)
			time.Sleep(time.Duration(i*37) * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second) // the timer has run out: nothing is left running
	})
	for _, c := range []struct {
		seconds int64
		want    uint32
	}{{0, 0}, {-1, 0}, {946684799, 0}, {946684800, 946684800}, {math.MaxUint32, math.MaxUint32}, {math.MaxUint32 + 1, 0}} {
		require.Equal(t, c.want, unixTime(c.seconds))
	}
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

func TestCacheGivesUpTheUnused(t *testing.T) {
	c := newCache[int](1)
	value := func(i int) *int { return &i }
	for i := range ways {
		c.put(0, value(i))
	}
	find := func(v int) bool {
		r := c.row(0)
		for i := range r.slot {
			if p := r.slot[i].Load(); p != nil && *p == v {
				r.touch(i)
				return true
			}
		}
		return false
	}
	for i := ways; i < 10*ways; i++ {
		require.True(t, find(3), "in use, so kept when %d came", i)
		c.put(0, value(i))
		require.True(t, find(i))
	}
	require.False(t, find(0))
}
