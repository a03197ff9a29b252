package ace

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHintsAreBounded: a broker cannot have a long text read.
func TestHintsAreBounded(t *testing.T) {
	long := strings.TrimSuffix(asHint, "}") + `,"x":"` + strings.Repeat("x", maxHint)
	h, err := parseHint(long[:maxHint-2] + `"}`)
	require.NoError(t, err)
	require.Equal(t, "https://as.example/token", h.AS)
	_, err = parseHint(long[:maxHint-1] + `"}`)
	require.ErrorIs(t, err, errHint)
}

// TestDisconnectForAnotherReason: only DISCONNECT 0x87 is about the token. After any other the next connection begins
// with the same one.
func TestDisconnectForAnotherReason(t *testing.T) {
	for reason, want := range map[string]string{"00": "token-1", "8b": "token-1", "8e": "token-1", "97": "token-1", "87": "token-2"} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(connackAce)...)
			p.send(unhexBytes("e002" + reason + "00")...)
			p.drain()
		})
		a, _, _ := clocked(t, nil)
		conn := connected(t, a, b)
		send(t, conn, connectV5)
		receive(t, conn)
		require.Equal(t, "e002"+reason+"00", receive(t, conn))
		require.Equal(t, want, raw(t, a.scheme.source), reason)
	}
}

// counted tells when it is closed.
type counted struct {
	*tls.Conn
	closed *atomic.Int32
}

func (c counted) Close() error {
	c.closed.Add(1)
	return c.Conn.Close()
}

// TestDiscoveryClosesItsConnection, whatever comes of it.
func TestDiscoveryClosesItsConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  []byte
		verdict error
		dialed  int32
	}{
		"found":   {hintConnack(asHint), nil, 2},
		"refused": {hintConnack(asHint), errors.New("not on the list"), 1},
		"no hint": {hintConnack("{}"), nil, 1},
	} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(tt.answer...)
			p.drain()
		})
		a, err := New(Config{Discover: func(context.Context, Hint) (TokenSource, error) { return hourly(), tt.verdict }})
		require.NoError(t, err)
		var dialed, closed atomic.Int32
		conn, err := a.scheme.Open(t.Context(), b.url("mqtts"), func(context.Context) (net.Conn, error) {
			dialed.Add(1)
			return counted{b.dial(t), &closed}, nil
		})
		require.Equal(t, tt.dialed == 2, err == nil, name)
		require.Equal(t, tt.dialed, dialed.Load(), name)
		require.EqualValues(t, 1, closed.Load(), name)
		if err == nil {
			require.NoError(t, conn.Close())
		}
	}
}

// TestTimersThatComeLate: a timer that has fired as its token was renewed, or as the connection ended, does nothing.
func TestTimersThatComeLate(t *testing.T) {
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackAce)...)
		for {
			if p.packet()[0] == 0xc0 {
				p.send(0xd0, 0)
			}
		}
	})
	told := make(chan error, 8)
	a, clock, _ := clocked(t, nil, func(c *Config) { c.Renewed = func(_ Token, err error) { told <- err } })
	wire := b.dial(t)
	tunnel, err := a.scheme.tunnel(wire)
	require.NoError(t, err)
	token, err := a.scheme.token(t.Context())
	require.NoError(t, err)
	f := newSession(a.scheme, tunnel, token)
	conn := f.over(wire)
	t.Cleanup(func() { conn.Close() })
	alive := func() {
		t.Helper()
		send(t, conn, "c000")
		require.Equal(t, "d000", receive(t, conn))
	}
	send(t, conn, connectV5)
	require.Equal(t, connackV5, receive(t, conn))

	f.expire() // renewed at the last moment
	alive()
	f.left() // nothing waits to leave
	alive()

	f.Closed() // which the connection below does not know
	clock.Advance(2 * time.Hour)
	f.expire()
	f.left()
	f.leaving = &token
	f.left()
	f.renew()
	alive()
	require.Empty(t, f.stops, "no timer is set any more")
	require.Empty(t, told)
}
