package ace

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
)

// clocked is an Authenticator whose source makes a new token, of an hour, for each request, on a clock that the test
// moves.
func clocked(t *testing.T, edit func(n int, token *Token) error, more ...func(*Config)) (*Authenticator, *layertest.Clock, *scripted) {
	t.Helper()
	clock := newFakeClock()
	source := &scripted{token: func(_ context.Context, n int) (Token, error) {
		token := numbered(n)
		token.Obtained, token.Expires = clock.Now(), clock.Now().Add(time.Hour)
		if edit != nil {
			if err := edit(n, &token); err != nil {
				return Token{}, err
			}
		}
		return token, nil
	}}
	cfg := Config{Source: &Cache{source: source, clock: clock}}
	for _, f := range more {
		f(&cfg)
	}
	a, err := New(cfg)
	require.NoError(t, err)
	a.scheme.clock = clock
	return a, clock, source
}

// reauth is the AUTH that shows the token "token-n" again, without a proof.
func reauth(n string) string {
	return "f014" + "19" + "12" + method + "16" + "0009" + "0007" + hex.EncodeToString([]byte("token-"+n))
}

// TestR1ReauthenticationByteByByte: AUTH 0x19 with the new token and no proof, though the connection began with the
// exporter; then the challenge; and AUTH 0x00. The client sees none of it, and its own packets pass meanwhile.
func TestR1ReauthenticationByteByByte(t *testing.T) {
	type step struct{ auth, reply []byte }
	steps := make(chan step)
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackAce)...)
		for {
			auth := p.packet()
			if auth[0] != 0xf0 {
				p.send(0xd0, 0)
				continue
			}
			p.send(unhexBytes(challenge)...)
			reply := p.packet()
			p.send(unhexBytes("f008" + "00" + "06" + method)...)
			steps <- step{auth, reply}
		}
	})
	renewed := make(chan Token, 1)
	a, clock, _ := clocked(t, nil, func(c *Config) {
		c.Renewed = func(token Token, err error) {
			if err == nil {
				renewed <- token
			}
		}
	})
	conn := connected(t, a, b)
	send(t, conn, connectV5)
	require.Equal(t, connackV5, receive(t, conn))
	read := make(chan string)
	go func() {
		for {
			p, err := readPacket(conn)
			if err != nil {
				close(read)
				return
			}
			read <- hex.EncodeToString(p)
		}
	}()
	for _, n := range []string{"2", "3", "4", "5", "6", "7", "8", "9"} {
		clock.Advance(50 * time.Minute)
		got := <-steps
		require.Equal(t, reauth(n), hex.EncodeToString(got.auth))
		require.Len(t, got.reply, len(unhexBytes("f033"+"18"+"31"+method+"16"+"0028"))+8+32)
		require.Equal(t, "token-"+n, string((<-renewed).Raw))
		send(t, conn, "c000")
		require.Equal(t, "d000", <-read)
	}
	clock.Advance(0)
	require.Equal(t, 2, clock.Waiting(), "one timer for renewal and one for the end")
	conn.Close()
	<-read
	require.Eventually(t, func() bool { return clock.Waiting() == 0 }, time.Minute, time.Millisecond)
}

// TestR3RenewalProvesTheNewKey: the challenge after a new token is for its key, not for that of the one in force.
func TestR3RenewalProvesTheNewKey(t *testing.T) {
	secret := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 32) }
	replies := make(chan []byte, 1)
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackAce)...)
		p.packet()
		p.send(unhexBytes(challenge)...)
		replies <- p.packet()
		p.drain()
	})
	a, clock, _ := clocked(t, func(n int, token *Token) (err error) {
		token.Key, err = Secret(secret(n))
		return err
	})
	conn := connected(t, a, b)
	send(t, conn, connectV5)
	require.Equal(t, connackV5, receive(t, conn))
	go func() { _, _ = readPacket(conn) }()
	clock.Advance(50 * time.Minute)
	reply := <-replies
	nonce, proof := reply[len(reply)-40:len(reply)-32], reply[len(reply)-32:]
	mac := hmac.New(sha256.New, secret(2))
	mac.Write(append(unhexBytes("0102030405060708"), nonce...))
	require.Equal(t, mac.Sum(nil), proof)
}

// TestTokenExpiresBeforeConnect: one that has expired since the connection was made is not shown.
func TestTokenExpiresBeforeConnect(t *testing.T) {
	b := newHandBroker(t, (*peer).drain)
	a, clock, _ := clocked(t, nil)
	conn := connected(t, a, b)
	clock.Advance(time.Hour)
	_, err := conn.Write(unhexBytes(connectV5))
	require.ErrorIs(t, err, ErrTokenExpired)
}

// TestSourceOfOldTokens: one whose tokens are due for renewal when they come is not asked all the time.
func TestSourceOfOldTokens(t *testing.T) {
	for _, connect := range []string{connectV5, connectV3} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(map[bool]string{true: connackAce, false: connackV3}[p.v5])...)
			p.drain()
		})
		a, clock, source := clocked(t, func(_ int, token *Token) error {
			token.Obtained, token.Expires = token.Obtained.Add(-time.Hour), token.Obtained.Add(8*time.Minute)
			return nil
		})
		conn := connected(t, a, b)
		send(t, conn, connect)
		receive(t, conn)
		clock.Advance(longestPause - time.Millisecond)
		require.Equal(t, 1, source.requests())
		clock.Advance(time.Millisecond)
		require.Equal(t, 2, source.requests())
	}
}

// TestR4RenewalThatFails: it is tried again while the token lasts, and then the connection ends with the reason.
func TestR4RenewalThatFails(t *testing.T) {
	down := errors.New("server down")
	for _, connect := range []string{connectV5, connectV3} {
		pings := make(chan string, 1)
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(map[bool]string{true: connackAce, false: connackV3}[p.v5])...)
			pings <- hex.EncodeToString(p.packet())
			p.drain()
		})
		told := make(chan error, 100)
		a, clock, source := clocked(t, func(n int, _ *Token) error {
			if n > 1 {
				return down
			}
			return nil
		}, func(c *Config) { c.Renewed = func(_ Token, err error) { told <- err } })
		conn := connected(t, a, b)
		send(t, conn, connect)
		receive(t, conn)
		for range 59 {
			clock.Advance(time.Minute)
		}
		_, err := conn.Write(unhexBytes("c000"))
		require.NoError(t, err, "still connected")
		require.Greater(t, source.requests(), 3)
		require.Less(t, source.requests(), 20)
		require.Equal(t, "c000", <-pings)
		clock.Advance(time.Minute)
		_, err = readPacket(conn)
		require.ErrorIs(t, err, ErrTokenExpired)
	}
}

// TestExpiryTellsTheBrokerToPublishTheWill on v5, where there is a word for it.
func TestExpiryTellsTheBrokerToPublishTheWill(t *testing.T) {
	for connect, want := range map[string]string{connectV5: "e00104", connectV3: ""} {
		last := make(chan string, 1)
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(map[bool]string{true: connackAce, false: connackV3}[p.v5])...)
			b, _ := readPacket(p)
			last <- hex.EncodeToString(b)
		})
		clock := newFakeClock()
		a := authenticator(t, refToken(clock.Now(), testKey))
		a.scheme.clock = clock
		conn := connected(t, a, b)
		send(t, conn, connect)
		receive(t, conn)
		require.Equal(t, 1, clock.Waiting(), "a Static is not renewed")
		clock.Advance(time.Hour)
		require.Equal(t, want, <-last)
		_, err := readPacket(conn)
		require.ErrorIs(t, err, ErrTokenExpired)
	}
}

// TestR5CleanReconnect: on MQTT 3.1.1 the connection ends with DISCONNECT and a typed error once the new token is
// there.
func TestR5CleanReconnect(t *testing.T) {
	last := make(chan string, 1)
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackV3)...)
		last <- hex.EncodeToString(p.packet())
		p.drain()
	})
	down := true
	a, clock, source := clocked(t, func(n int, _ *Token) error {
		if n > 1 && down {
			return errors.New("down")
		}
		return nil
	})
	conn := connected(t, a, b)
	send(t, conn, connectV3)
	receive(t, conn)
	clock.Advance(50 * time.Minute)
	require.Equal(t, 2, source.requests())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err := readPacket(conn)
	var ne net.Error
	require.True(t, errors.As(err, &ne) && ne.Timeout(), "without a new token the connection stays")
	require.NoError(t, conn.SetReadDeadline(time.Time{}))

	down = false
	clock.Advance(5 * time.Minute)
	require.Equal(t, "e000", <-last)
	_, err = readPacket(conn)
	require.ErrorIs(t, err, ErrRenewal)
}

// TestR5WaitsForAcknowledgements: the connection that is to be replaced ends behind the client's acknowledgement of
// what it was given, at QoS 1 and 2, or when half of what is left of the token is over.
func TestR5WaitsForAcknowledgements(t *testing.T) {
	for name, tc := range map[string]struct {
		publish, ack string
		wait         time.Duration
	}{
		"QoS 1":          {"3206" + "0001" + "61" + "0007" + "78", "40020007", 0},
		"QoS 2":          {"3406" + "0001" + "61" + "0007" + "78", "50020007", 0},
		"no answer":      {"3406" + "0001" + "61" + "0007" + "78", "", 5 * time.Minute},
		"nothing to say": {"3004" + "0001" + "61" + "78", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan string, 4)
			b := newHandBroker(t, func(p *peer) {
				p.packet()
				p.send(unhexBytes(connackV3)...)
				p.send(unhexBytes(tc.publish)...)
				if tc.ack != "" {
					heard <- hex.EncodeToString(p.packet())
				}
				heard <- hex.EncodeToString(p.packet())
				p.drain()
			})
			a, clock, source := clocked(t, nil)
			conn := connected(t, a, b)
			send(t, conn, connectV3)
			receive(t, conn)
			require.Equal(t, tc.publish, receive(t, conn))
			clock.Advance(50 * time.Minute)
			require.Equal(t, 2, source.requests())
			if tc.ack != "" || tc.wait > 0 {
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
				_, err := readPacket(conn)
				var ne net.Error
				require.True(t, errors.As(err, &ne) && ne.Timeout(), "%v", err)
				require.NoError(t, conn.SetReadDeadline(time.Time{}))
			}
			if tc.ack != "" {
				send(t, conn, tc.ack)
				require.Equal(t, tc.ack, <-heard)
			}
			clock.Advance(tc.wait)
			require.Equal(t, "e000", <-heard)
			_, err := readPacket(conn)
			require.ErrorIs(t, err, ErrRenewal)
		})
	}
}

// TestR2BrokerRefusesRenewal: DISCONNECT 0x87 is the client's to see; the next connection begins with another token.
func TestR2BrokerRefusesRenewal(t *testing.T) {
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackAce)...)
		p.packet()
		p.send(unhexBytes("e006" + "87" + "04" + "1f" + "0001" + "78")...)
		p.drain()
	})
	told := make(chan error, 1)
	a, clock, _ := clocked(t, nil, func(c *Config) { c.Renewed = func(_ Token, err error) { told <- err } })
	conn := connected(t, a, b)
	send(t, conn, connectV5)
	receive(t, conn)
	clock.Advance(50 * time.Minute)
	require.Equal(t, "e006"+"87"+"04"+"1f"+"0001"+"78", receive(t, conn))
	var refusal *NotAuthorizedError
	require.ErrorAs(t, <-told, &refusal)
	require.Equal(t, NotAuthorizedError{Code: 0x87, Reason: "x"}, *refusal)
	require.Equal(t, "token-3", raw(t, a.scheme.source))
}

// TestBrokerThatMisbehavesInRenewal does not keep the connection.
func TestBrokerThatMisbehavesInRenewal(t *testing.T) {
	for name, sends := range map[string]string{
		"success without challenge": "f008" + "00" + "06" + method,
		"two challenges":            challenge + challenge,
		"short nonce":               "f012" + "18" + "10" + method + "16" + "0007" + "01020304050607",
		"another method":            "f008" + "00" + "06" + "15" + "0003" + "616366",
		"re-authenticates itself":   "f008" + "19" + "06" + method,
		"CONNACK again":             connackAce,
	} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(connackAce)...)
			p.packet()
			p.send(unhexBytes(sends)...)
			p.drain()
		})
		a, clock, _ := clocked(t, nil)
		conn := connected(t, a, b)
		send(t, conn, connectV5)
		receive(t, conn)
		clock.Advance(50 * time.Minute)
		_, err := readPacket(conn)
		if strings.Contains(name, "CONNACK") {
			require.ErrorIs(t, err, layer.ErrProtocol, name)
		} else {
			require.ErrorIs(t, err, ErrChallenge, name)
		}
	}
}

// TestUnaskedAuth: a broker cannot begin to authenticate, nor end what nobody has begun.
func TestUnaskedAuth(t *testing.T) {
	for name, sends := range map[string]string{
		"challenge": challenge,
		"success":   "f008" + "00" + "06" + method,
	} {
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(connackAce + sends)...)
			p.drain()
		})
		conn := connected(t, authenticator(t, refToken(time.Now(), testKey)), b)
		send(t, conn, connectV5)
		require.Equal(t, connackV5, receive(t, conn), name)
		_, err := readPacket(conn)
		require.ErrorIs(t, err, ErrChallenge, name)
	}
}

// TestRenewedTokenForAnotherBroker is not shown.
func TestRenewedTokenForAnotherBroker(t *testing.T) {
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(connackAce)...)
		if b := p.packet(); b[0] == 0xf0 {
			t.Error("the token was shown")
		}
	})
	told := make(chan error, 10)
	a, clock, _ := clocked(t, func(n int, token *Token) error {
		if n > 1 {
			token.Broker = BrokerPublicKey(seedKey().Public())
		}
		return nil
	}, func(c *Config) { c.Renewed = func(_ Token, err error) { told <- err } })
	conn := connected(t, a, b)
	send(t, conn, connectV5)
	receive(t, conn)
	clock.Advance(50 * time.Minute)
	require.ErrorIs(t, <-told, ErrBrokerKey)
	send(t, conn, "c000")
}

// TestNothingIsLeft: a connection that is closed while a token is requested ends the request.
func TestNothingIsLeft(t *testing.T) {
	b := newHandBroker(t, func(p *peer) { p.packet(); p.send(unhexBytes(connackAce)...); p.drain() })
	asked, ended := make(chan bool), make(chan bool)
	clock := newFakeClock()
	source := &scripted{token: func(ctx context.Context, n int) (Token, error) {
		if n > 1 {
			close(asked)
			<-ctx.Done()
			close(ended)
			return Token{}, ctx.Err()
		}
		return refToken(clock.Now(), testKey), nil
	}}
	a, err := New(Config{Source: &Cache{source: source, clock: clock}})
	require.NoError(t, err)
	a.scheme.clock = clock
	conn := connected(t, a, b)
	send(t, conn, connectV5)
	receive(t, conn)
	go clock.Advance(50 * time.Minute)
	<-asked
	conn.Close()
	<-ended
}

// TestQuietRenewal: between AUTH 0x19 and AUTH 0x00 the client sends and receives nothing, and then all of it.
func TestQuietRenewal(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		written, seen := make(chan bool), make(chan string, 8)
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(connackAce)...)
			seen <- hex.EncodeToString(p.packet())
			<-written
			p.send(unhexBytes("d000" + challenge)...)
			seen <- hex.EncodeToString(p.packet())[:2]
			if refuses {
				p.send(unhexBytes("e00187")...)
				return
			}
			p.send(unhexBytes("f008" + "00" + "06" + method)...)
			seen <- hex.EncodeToString(p.packet())
			p.send(0xd0, 0)
			p.drain()
		})
		a, clock, _ := clocked(t, nil, func(c *Config) { c.QuietRenewal = true })
		conn := connected(t, a, b)
		send(t, conn, connectV5)
		receive(t, conn)
		clock.Advance(50 * time.Minute)
		require.Equal(t, reauth("2"), <-seen)
		send(t, conn, "c000")
		written <- true
		require.Equal(t, "d000", receive(t, conn), "what the broker had sent before")
		require.Equal(t, "f0", <-seen)
		if refuses {
			require.Equal(t, "e00187", receive(t, conn))
			continue
		}
		require.Equal(t, "c000", <-seen)
		require.Equal(t, "d000", receive(t, conn))
	}
}
