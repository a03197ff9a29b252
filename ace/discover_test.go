package ace

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hintConnack refuses with this hint.
func hintConnack(hint string) []byte {
	ps := "\x26" + field("ace_as_hint") + field(hint)
	return []byte("\x20" + varint(2+len(varint(len(ps)))+len(ps)) + "\x00\x87" + varint(len(ps)) + ps)
}

const asHint = `{"AS":"https://as.example/token","audience":"broker.example","cnonce":"_v8B"}`

// open connects as Wrap would.
func open(t *testing.T, a *Authenticator, b *handBroker) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := a.scheme.Open(ctx, b.url("mqtts"), func(context.Context) (net.Conn, error) { return b.dial(t), nil })
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// TestC10DiscoveryIsDecidedByTheCaller: the broker's word is asked for by a CONNECT without a token (RFC 9431, 2.2.4,
// M-10), on a connection of its own, and decides nothing; a refused token makes it asked for again.
func TestC10DiscoveryIsDecidedByTheCaller(t *testing.T) {
	connects := make(chan string, 8)
	refuse := make(chan bool, 8)
	b := newHandBroker(t, func(p *peer) {
		connect := p.packet()
		if len(connect) < 25 {
			connects <- hex.EncodeToString(connect)
			p.send(hintConnack(asHint)...)
		} else if <-refuse {
			p.send(hintConnack(asHint)...)
		} else {
			p.send(unhexBytes(connackAce)...)
		}
		p.drain()
	})
	var hints []Hint
	verdict := errors.New("not on the list")
	a, err := New(Config{Discover: func(_ context.Context, hint Hint) (TokenSource, error) {
		hints = append(hints, hint)
		if verdict != nil {
			return nil, verdict
		}
		return hourly(), nil
	}})
	require.NoError(t, err)

	_, err = open(t, a, b)
	require.ErrorIs(t, err, ErrDiscovery)
	require.ErrorIs(t, err, verdict)
	require.Equal(t, []Hint{{AS: "https://as.example/token", Audience: "broker.example", CNonce: []byte{0xfe, 0xff, 1}}}, hints)
	require.Equal(t, "1013"+"00044d51545405"+"02"+"003c"+"06"+method+"0000", <-connects)

	verdict = nil
	for i, refused := range []bool{false, false, true, false} {
		refuse <- refused
		conn, err := open(t, a, b)
		require.NoError(t, err)
		send(t, conn, connectV5)
		_, err = readPacket(conn)
		if refused {
			var refusal *NotAuthorizedError
			require.ErrorAs(t, err, &refusal)
		} else {
			require.NoError(t, err)
		}
		require.Len(t, hints, []int{2, 2, 2, 3}[i])
	}

	_, err = (&Authenticator{&scheme{form: proofForm{}}}).Conn(t.Context(), b.dial(t))
	require.ErrorIs(t, err, ErrDiscovery, "Conn has no other connection")
}

// TestDiscoveryThatLeadsNowhere says why.
func TestDiscoveryThatLeadsNowhere(t *testing.T) {
	for want, sends := range map[string][]byte{
		"without a token connect":  unhexBytes(connackAce),
		"does not do RFC 9431":     unhexBytes("2003" + "00" + "8c" + "00"),
		"without saying where":     unhexBytes("2003" + "00" + "87" + "00"),
		"answers with AUTH":        unhexBytes(challenge),
		"answers with DISCONNECT":  unhexBytes("e00187"),
		"packet too large":         unhexBytes("20ffffff7f"),
		"EOF":                      nil,
		"saying where to get a to": hintConnack(`{"AS":""}`),
	} {
		b := newHandBroker(t, func(p *peer) { p.packet(); p.send(sends...) })
		_, err := Discover(t.Context(), b.dial(t))
		require.ErrorIs(t, err, ErrDiscovery, want)
		require.ErrorContains(t, err, want)
	}
	silent := newHandBroker(t, (*peer).drain)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := Discover(ctx, silent.dial(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	a, err := New(Config{Discover: func(context.Context, Hint) (TokenSource, error) { return nil, nil }})
	require.NoError(t, err)
	_, err = open(t, a, newHandBroker(t, func(p *peer) { p.packet(); p.send(hintConnack(asHint)...) }))
	require.ErrorContains(t, err, "returned no source")
	near, far := net.Pipe()
	defer far.Close()
	_, err = a.scheme.Open(t.Context(), &url.URL{}, func(context.Context) (net.Conn, error) { return near, nil })
	require.ErrorIs(t, err, ErrInsecure, "what an attacker in the middle says is not asked for")
	down := errors.New("down")
	_, err = a.scheme.Open(t.Context(), &url.URL{}, func(context.Context) (net.Conn, error) { return nil, down })
	require.ErrorIs(t, err, down)
}

// TestHintNamesAreCaseSensitive: the server of a hint is what every reader of it takes.
func TestHintNamesAreCaseSensitive(t *testing.T) {
	h, err := parseHint(`{"AS":"https://as.example/token","as":"https://evil.example/token","Audience":"x","CNONCE":"AA","KID":"AA"}`)
	require.NoError(t, err)
	require.Equal(t, &Hint{AS: "https://as.example/token"}, h)
	for _, bad := range []string{
		`{"as":"https://as.example/token"}`, `{"AS":"https://as.example/token","AS":"https://evil.example/token"}`, asHint + "}",
	} {
		_, err := parseHint(bad)
		require.ErrorIs(t, err, errHint, bad)
	}
}

func FuzzHint(f *testing.F) {
	f.Add(asHint)
	f.Add(`{"AS":"x","kid":"azE","scope":"W10"}`)
	f.Add(`{"AS":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHint(text)
		if err != nil {
			require.ErrorIs(t, err, errHint)
			return
		}
		require.NotEmpty(t, h.AS)
		require.NoError(t, h.Scope.Validate())
	})
}

// TestZ1Upload is RFC 9431, 2.2.2, byte by byte: CONNECT without authentication, the token's own bytes on authz-info
// at QoS 1, DISCONNECT.
func TestZ1Upload(t *testing.T) {
	got := make(chan string, 3)
	b := newHandBroker(t, func(p *peer) {
		got <- hex.EncodeToString(p.packet())
		p.send(unhexBytes(connackV5)...)
		got <- hex.EncodeToString(p.packet())
		p.send(unhexBytes("4002" + "0001")...)
		got <- hex.EncodeToString(p.packet())
	})
	token := refToken(time.Now(), testKey)
	require.NoError(t, Upload(t.Context(), b.dial(t), "c1", token))
	require.Equal(t, connectV5, <-got)
	require.Equal(t, "321d"+"000a"+hex.EncodeToString([]byte("authz-info"))+"0001"+"00"+hex.EncodeToString([]byte("ref-token-0001")), <-got)
	require.Equal(t, "e000", <-got)
}

// TestZ4UploadRefused: with the broker's reason.
func TestZ4UploadRefused(t *testing.T) {
	token := refToken(time.Now(), testKey)
	for _, tc := range []struct {
		connack, puback string
		code            byte
	}{
		{connackV5, "4003" + "0001" + "87", 0x87},
		{connackV5, "4003" + "0001" + "99", 0x99},
		{connackV5, "e00187", 0x87},
		{"2003" + "00" + "87" + "00", "", 0x87},
	} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(tc.connack)...)
			p.packet()
			p.send(unhexBytes(tc.puback)...)
			p.drain()
		})
		var refusal *NotAuthorizedError
		require.ErrorAs(t, Upload(t.Context(), b.dial(t), "", token), &refusal)
		require.Equal(t, tc.code, refusal.Code)
	}
	for _, puback := range []string{"4002" + "0002", "5002" + "0001", "4000", "e0"} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(connackV5)...)
			p.packet()
			p.send(unhexBytes(puback)...)
		})
		require.Error(t, Upload(t.Context(), b.dial(t), "", token), puback)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	require.ErrorIs(t, Upload(t.Context(), near, "", token), ErrInsecure)
	require.ErrorIs(t, Upload(t.Context(), newHandBroker(t, (*peer).drain).dial(t), "", Token{}), ErrToken)
}

// TestM9StoredToken: CONNECT names the method and carries nothing; the broker challenges.
func TestM9StoredToken(t *testing.T) {
	got := make(chan string, 1)
	b := newHandBroker(t, func(p *peer) {
		got <- hex.EncodeToString(p.packet())
		p.send(unhexBytes(challenge)...)
		p.packet()
		p.send(unhexBytes(connackAce)...)
		p.drain()
	})
	conn := connected(t, authenticator(t, refToken(time.Now(), testKey), func(c *Config) { c.Stored = true }), b)
	send(t, conn, connectV5)
	require.Equal(t, connackV5, receive(t, conn))
	require.Equal(t, "1015"+"00044d51545405"+"02"+"003c"+"06"+method+"00026331", <-got)
}
