package ace

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The packets of a client "c1" with a keep alive of 60 s, and a broker's answers.
const (
	connectV5  = "100f" + "00044d51545405" + "02" + "003c" + "00" + "00026331"
	connectV3  = "100e" + "00044d51545404" + "02" + "003c" + "00026331"
	connackV5  = "2003" + "00" + "00" + "00"
	connackAce = "2009" + "00" + "00" + "06" + "15" + "0003" + "616365"
	connackV3  = "2002" + "00" + "00"
	challenge  = "f013" + "18" + "11" + "15" + "0003" + "616365" + "16" + "0008" + "0102030405060708"
	refToken14 = "000e" + "7265662d746f6b656e2d30303031"
	method     = "15" + "0003" + "616365"
)

// both runs a test on TLS 1.3 and 1.2.
func both(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		t.Run(tls.VersionName(v), func(t *testing.T) { test(t, v) })
	}
}

// kinds are the three keys that a token may be bound to, each with an independent check of its proofs.
func kinds(t *testing.T) map[string]struct {
	key    ProofKey
	verify func(input, proof []byte) bool
} {
	t.Helper()
	secret := unhexBytes("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	es, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return map[string]struct {
		key    ProofKey
		verify func(input, proof []byte) bool
	}{
		"HMAC": {must(Secret(secret)), func(input, proof []byte) bool {
			h := hmac.New(sha256.New, secret)
			h.Write(input)
			return string(h.Sum(nil)) == string(proof)
		}},
		"Ed25519": {must(Signer(seedKey())), func(input, proof []byte) bool {
			return ed25519.Verify(seedKey().Public().(ed25519.PublicKey), input, proof)
		}},
		"ES256": {must(Signer(es)), func(input, proof []byte) bool {
			digest := sha256.Sum256(input)
			r, s := new(big.Int).SetBytes(proof[:32]), new(big.Int).SetBytes(proof[32:])
			return len(proof) == 64 && ecdsa.Verify(&es.PublicKey, digest[:], r, s)
		}},
	}
}

// send writes a packet that is given in hexadecimal.
func send(t *testing.T, w io.Writer, packet string) {
	t.Helper()
	_, err := w.Write(unhexBytes(packet))
	require.NoError(t, err)
}

// receive reads one packet, in hexadecimal.
func receive(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := readPacket(r)
	require.NoError(t, err)
	return hex.EncodeToString(b)
}

// TestM3ExporterProof is RFC 9431, figure 3, byte by byte: token and proof in CONNECT, and no user name.
func TestM3ExporterProof(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, version uint16) {
				connects := make(chan []byte, 1)
				inputs := make(chan []byte, 1)
				b := newHandBroker(t, func(p *peer) {
					connects <- p.packet()
					inputs <- p.export()
					p.send(unhexBytes(connackAce)...)
					p.drain()
				}, version)
				conn := connected(t, authenticator(t, refToken(time.Now(), kind.key)), b)
				send(t, conn, connectV5)
				require.Equal(t, connackV5, receive(t, conn), "the method is not for a client that has not asked")

				got, size := <-connects, kind.key.Verifier().Algorithm().ProofSize()
				proof := got[len(got)-4-size : len(got)-4]
				require.True(t, kind.verify(<-inputs, proof))
				properties := method + "16" + hex.EncodeToString([]byte{0, byte(16 + size)}) + refToken14 + hex.EncodeToString(proof)
				require.Equal(t, "00044d51545405"+"02"+"003c"+hex.EncodeToString([]byte{byte(len(properties) / 2)})+properties+"00026331",
					hex.EncodeToString(got[headerSize(got):]))
			})
		})
	}
}

// TestM4ChallengeProof is RFC 9431, figures 4 to 6, byte by byte. The client's nonce is new each time (M-4).
func TestM4ChallengeProof(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			connects, replies := make(chan []byte, 2), make(chan []byte, 2)
			b := newHandBroker(t, func(p *peer) {
				connects <- p.packet()
				p.send(unhexBytes(challenge)...)
				replies <- p.packet()
				p.send(unhexBytes(connackAce)...)
				p.drain()
			})
			a := authenticator(t, refToken(time.Now(), kind.key), func(c *Config) { c.Challenge = true })
			nonces := map[string]bool{}
			for range 2 {
				conn := connected(t, a, b)
				send(t, conn, connectV5)
				require.Equal(t, connackV5, receive(t, conn), "the client sees no AUTH")
				require.Equal(t, "1028"+"00044d51545405"+"02"+"003c"+"19"+method+"16"+"0010"+refToken14+"00026331", hex.EncodeToString(<-connects))

				got, size := <-replies, kind.key.Verifier().Algorithm().ProofSize()
				head := unhexBytes("f0" + hex.EncodeToString([]byte{byte(19 + size)}) + "18" + hex.EncodeToString([]byte{byte(17 + size)}) + method +
					"16" + hex.EncodeToString([]byte{0, byte(8 + size)}))
				require.Equal(t, hex.EncodeToString(head), hex.EncodeToString(got[:len(head)]))
				nonce, proof := got[len(head):len(head)+8], got[len(head)+8:]
				require.True(t, kind.verify(append(unhexBytes("0102030405060708"), nonce...), proof))
				nonces[string(nonce)] = true
			}
			require.Len(t, nonces, 2)
		})
	}
}

// TestV1UserNameAndPassword is RFC 9431, 6.1, byte by byte. A JWT is encoded again (V-2).
func TestV1UserNameAndPassword(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, version uint16) {
				connects, inputs := make(chan []byte, 1), make(chan []byte, 1)
				b := newHandBroker(t, func(p *peer) {
					connects <- p.packet()
					inputs <- p.export()
					p.send(unhexBytes(connackV3)...)
					p.drain()
				}, version)
				conn := connected(t, authenticator(t, refToken(time.Now(), kind.key)), b)
				send(t, conn, connectV3)
				require.Equal(t, connackV3, receive(t, conn))
				got, size := <-connects, kind.key.Verifier().Algorithm().ProofSize()
				proof := got[len(got)-size:]
				require.True(t, kind.verify(<-inputs, proof))
				require.Equal(t, "00044d51545404"+"c2"+"003c"+"00026331"+"0016"+hex.EncodeToString([]byte("acecmVmLXRva2VuLTAwMDE"))+
					hex.EncodeToString([]byte{0, byte(size)})+hex.EncodeToString(proof), hex.EncodeToString(got[headerSize(got):]))
			})
		})
	}
}

// TestM2NothingBeforeConnack: a client that does not wait for CONNACK is made to.
func TestM2NothingBeforeConnack(t *testing.T) {
	seen := make(chan string, 4)
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(challenge)...)
		seen <- hex.EncodeToString(p.packet())[:2]
		p.send(unhexBytes(connackAce)...)
		seen <- hex.EncodeToString(p.packet())
		seen <- hex.EncodeToString(p.packet())
		p.drain()
	})
	const publish = "3008" + "000174" + "00" + "70617373"
	conn := connected(t, authenticator(t, refToken(time.Now(), testKey), func(c *Config) { c.Challenge = true }), b)
	send(t, conn, connectV5+publish)
	send(t, conn, "c000")
	require.Equal(t, connackV5, receive(t, conn))
	for _, want := range []string{"f0", publish, "c000"} {
		require.Equal(t, want, <-seen)
	}
}

// TestPacketsPassUntouched: what is not about authentication.
func TestPacketsPassUntouched(t *testing.T) {
	packets := []string{"3008" + "000174" + "00" + "70617373", "c000", "8207" + "0001" + "00" + "000174" + "01", "e000"}
	seen := make(chan string, 8)
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackAce)...)
		for {
			seen <- hex.EncodeToString(p.packet())
		}
	})
	conn := connected(t, authenticator(t, refToken(time.Now(), testKey)), b)
	send(t, conn, connectV5)
	require.Equal(t, connackV5, receive(t, conn))
	for _, packet := range packets {
		send(t, conn, packet)
		require.Equal(t, packet, <-seen)
	}
}

// misbehaving are brokers that break the protocol before CONNACK, by what they send, and in which form of proof. Of
// attacks.md it is 7: success without a handshake, and dropping the proof.
var misbehaving = map[string]struct {
	challenge bool
	sends     string
}{
	"M-8 success without challenge":       {true, connackAce},
	"M-8 success without the method":      {false, connackV5},
	"M-8 success with another method":     {false, "2009" + "00" + "00" + "06" + "15" + "0003" + "616366"},
	"M-2 AUTH without method":             {true, "f00d" + "18" + "0b" + "16" + "0008" + "0102030405060708"},
	"M-2 AUTH with another method":        {true, "f013" + "18" + "11" + "15" + "0003" + "616366" + "16" + "0008" + "0102030405060708"},
	"M-2 AUTH without data":               {true, "f008" + "18" + "06" + method},
	"M-2 AUTH with success":               {true, "f008" + "00" + "06" + method},
	"AUTH with success, for CONNACK":      {true, challenge + "f008" + "00" + "06" + method},
	"M-2 AUTH with re-authenticate":       {true, "f013" + "19" + "11" + method + "16" + "0008" + "0102030405060708"},
	"M-4 nonce of seven bytes":            {true, "f012" + "18" + "10" + method + "16" + "0007" + "01020304050607"},
	"M-4 nonce of nine bytes":             {true, "f014" + "18" + "12" + method + "16" + "0009" + "010203040506070809"},
	"M-4 empty nonce":                     {true, "f00b" + "18" + "09" + method + "16" + "0000"},
	"challenge that nobody asked for":     {false, challenge},
	"two challenges":                      {true, challenge + challenge},
	"success after a wrong second method": {true, challenge + connackV5},
}

func TestBrokerThatMisbehaves(t *testing.T) {
	for name, tc := range misbehaving {
		t.Run(name, func(t *testing.T) {
			after := make(chan string, 8)
			b := newHandBroker(t, func(p *peer) {
				p.packet()
				p.send(unhexBytes(tc.sends)...)
				for {
					after <- hex.EncodeToString(p.packet())
				}
			})
			conn := connected(t, authenticator(t, refToken(time.Now(), testKey), func(c *Config) { c.Challenge = tc.challenge }), b)
			send(t, conn, connectV5)
			_, err := readPacket(conn)
			require.ErrorIs(t, err, ErrChallenge)
			last := <-after
			if last[:2] == "f0" {
				last = <-after // the answer to the first challenge
			}
			require.Equal(t, "e00182", last, "the broker is told: Protocol Error")
			_, err = conn.Write(unhexBytes("c000"))
			require.ErrorIs(t, err, ErrChallenge)
		})
	}
}

// TestM10Refusal: what the broker says reaches the client as one typed error, with the hint.
func TestM10Refusal(t *testing.T) {
	hint := `{"AS":"https://as.example/token","audience":"mqtts://broker","cnonce":"_v8B","kid":"azE","scope":"` +
		`W1sidG9waWMxIixbInB1YiIsInN1YiJdXSxbInRvcGljMi8jIixbInB1YiJdXSxbIisvdG9waWMzIixbInN1YiJdXV0"}`
	property := func(name, value string) string {
		return "\x26" + field(name) + field(value)
	}
	refused := func(code byte, properties string) string {
		ps := varint(len(properties)) + properties
		return hex.EncodeToString([]byte("\x20" + varint(2+len(ps)) + "\x00" + string([]byte{code}) + ps))
	}
	for name, tc := range map[string]struct {
		connect, connack string
		want             NotAuthorizedError
	}{
		"with a hint": {connectV5, refused(0x87, "\x1f"+field("bad\ntoken")+property("other", "{}")+property("ace_as_hint", hint)), NotAuthorizedError{
			Code: 0x87, Reason: "bad token",
			Hint: &Hint{AS: "https://as.example/token", Audience: "mqtts://broker", CNonce: []byte{0xfe, 0xff, 1}, KeyID: []byte("k1"), Scope: exampleScope},
		}},
		"with a broken hint": {connectV5, refused(0x87, property("ace_as_hint", "{")), NotAuthorizedError{Code: 0x87}},
		"bad user name":      {connectV5, refused(0x86, ""), NotAuthorizedError{Code: 0x86}},
		"M-8 bad method":     {connectV5, refused(0x8c, ""), NotAuthorizedError{Code: 0x8c}},
		"V-3 v3.1.1":         {connectV3, "20020005", NotAuthorizedError{Code: 5}},
		"v3.1.1 password":    {connectV3, "20020004", NotAuthorizedError{Code: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHandBroker(t, func(p *peer) { p.packet(); p.send(unhexBytes(tc.connack)...); p.drain() })
			source := newCache(t, hourly(), nil)
			a, err := New(Config{Source: source})
			require.NoError(t, err)
			conn := connected(t, a, b)
			send(t, conn, tc.connect)
			_, err = readPacket(conn)
			var refusal *NotAuthorizedError
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, tc.want, *refusal)
			if tc.want.Code == 0x8c {
				require.Equal(t, "token-1", raw(t, source), "the token is not at fault")
			} else {
				require.Equal(t, "token-2", raw(t, source), "the next connection gets another token")
			}
		})
	}
}

func field(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func varint(n int) string {
	if n < 128 {
		return string([]byte{byte(n)})
	}
	return string([]byte{byte(n&127 | 128), byte(n >> 7)})
}

// TestOtherRefusalsPass: the client knows what to do about a broker that is busy.
func TestOtherRefusalsPass(t *testing.T) {
	for connect, connack := range map[string]string{connectV5: "2003" + "00" + "88" + "00", connectV3: "20020003"} {
		b := newHandBroker(t, func(p *peer) { p.packet(); p.send(unhexBytes(connack)...); p.drain() })
		conn := connected(t, authenticator(t, refToken(time.Now(), testKey)), b)
		send(t, conn, connect)
		require.Equal(t, connack, receive(t, conn))
	}
}

// TestConnectWhosePlaceIsTaken: an application that authenticates by itself is told so, and nothing is sent.
func TestConnectWhosePlaceIsTaken(t *testing.T) {
	b := newHandBroker(t, func(p *peer) {
		p.packet() // CONNECT of the one that goes on to send AUTH
		p.send(unhexBytes(connackAce)...)
		if p.packet(); p.v5 {
			t.Error("something was sent")
		}
	})
	for name, tc := range map[string]struct{ packet, want string }{
		"v5 user name": {"1012" + "00044d51545405" + "82" + "003c" + "00" + "00026331" + "000175", "user name or password"},
		"v5 password":  {"1012" + "00044d51545405" + "42" + "003c" + "00" + "00026331" + "000175", "user name or password"},
		"v3.1.1":       {"1011" + "00044d51545404" + "82" + "003c" + "00026331" + "000175", "user name or password"},
		"v5 method":    {"1013" + "00044d51545405" + "02" + "003c" + "04" + "15" + "000178" + "00026331", "authentication method of its own"},
		"MQTT 3.1":     {"1010" + "00064d514973647003" + "02" + "003c" + "00026331", "MQTT 3.1 has no"},
		"AUTH":         {"f008" + "19" + "06" + method, "sends AUTH"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected(t, authenticator(t, refToken(time.Now(), testKey)), b)
			if name == "AUTH" {
				send(t, conn, connectV5)
				receive(t, conn)
			}
			_, err := conn.Write(unhexBytes(tc.packet))
			require.ErrorIs(t, err, ErrConfig)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// TestTokenOfNoUse: it is refused before the broker sees it.
func TestTokenOfNoUse(t *testing.T) {
	b := newHandBroker(t, (*peer).drain)
	now := time.Now()
	for name, tc := range map[string]struct {
		token Token
		want  error
	}{
		"bearer":      {Token{Raw: []byte("t"), Expires: now.Add(time.Hour)}, ErrToken},
		"expired":     {Token{Raw: []byte("t"), Key: testKey, Expires: now.Add(-time.Second)}, ErrTokenExpired},
		"no lifetime": {Token{Raw: []byte("t"), Key: testKey}, ErrToken},
		"empty":       {Token{Key: testKey, Expires: now.Add(time.Hour)}, ErrToken},
	} {
		_, err := authenticator(t, tc.token).Conn(t.Context(), b.dial(t))
		require.ErrorIs(t, err, tc.want, name)
	}
	long := Token{Raw: make([]byte, 65536), Key: testKey, Expires: now.Add(time.Hour)}
	for _, connect := range []string{connectV5, connectV3} {
		conn := connected(t, authenticator(t, long), b)
		_, err := conn.Write(unhexBytes(connect))
		require.ErrorIs(t, err, ErrToken)
	}
}

// FuzzBroker: whatever a broker sends before and after CONNACK, there is no panic, and the client never sees AUTH or
// success that was not earned.
func FuzzBroker(f *testing.F) {
	for _, tc := range misbehaving {
		f.Add(tc.challenge, unhexBytes(tc.sends))
	}
	f.Add(true, unhexBytes(challenge+connackAce))
	f.Add(false, unhexBytes(connackAce+"f018"+"18"+"11"+method))
	f.Fuzz(func(t *testing.T, challenge bool, sends []byte) {
		s := &scheme{method: "ace", form: proofForm{}, challenge: challenge, source: Static{}, clock: newFakeClock()}
		token := refToken(s.clock.Now(), testKey)
		near, far := net.Pipe()
		c := newSession(s, &tunnel{keys: fixedKeys{}}, token).over(near)
		go func() {
			_, _ = readPacket(far)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			_, _ = far.Write(sends)
			far.Close()
		}()
		_, err := c.Write(unhexBytes(connectV5))
		require.NoError(t, err)
		got, _ := io.ReadAll(c)
		c.Close()
		if len(got) > 0 && got[0]>>4 == 15 {
			t.Errorf("AUTH reached the client: %x", got)
		}
		if challenge && len(got) > 3 && got[0] == 0x20 && got[3] == 0 && sends[0]>>4 != 15 {
			t.Errorf("success without a challenge: %x", got)
		}
	})
}

// fixedKeys exports always the same.
type fixedKeys struct{}

func (fixedKeys) ExportKeyingMaterial(_ string, _ []byte, n int) ([]byte, error) {
	return make([]byte, n), nil
}
