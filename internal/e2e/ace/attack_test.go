package ace

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// What the attackers here do, by their numbers in the list of attacks on MQTT, and where the others are:
//
//	1   sniffs CONNECT on the wire: TestSniffedConnection
//	4   replays a CONNECT in another TLS session: TestReplayedConnect; a proof in a resumed session, an answer to
//	    another challenge: TestExporterOfAResumedSession, TestChallengeRefused in acebroker
//	6   has a stolen token without its key: TestStolenToken; wants another's Client Identifier:
//	    TestStolenClientIdentifier
//	7   plays the broker: TestFalseBroker; success without a challenge, bad challenges: package ace
//	10  subscribes to more: TestMatrix; in every spelling: TestScopeAttacks in guard
//	11  publishes elsewhere: TestMatrix; by alias, as Will, retained: TestPublishByAlias, TestWillAuthorised,
//	    TestRetainedExpiryV3 in guard
//	12  stays after expiry or revocation: TestExpiryUnderASubscriberAndAPublisher, TestRevocationWhileConnected
//	13  sends malformed and endless packets: TestMalformedPackets; byte by byte: TestBytewise in acebroker
//	14  floods: TestHalfOpenConnections, TestStampede, TestIdleConnections; TestAuthzInfoFlood in acebroker
//	15  wants less security: TestOldTLS; another algorithm, a resumed session: TestTokenByAStranger,
//	    TestExporterOfAResumedSession in acebroker
//	16  uses a token where it is not for: TestTokenForAnotherBroker; a JWT of another type, another issuer's key:
//	    TestTokenByAStranger in acebroker
//
// Not covered, because nothing here prevents it: a false broker with a certificate that the client trusts can pass a
// challenge on to the true broker while both wait (a proof over the exporter it cannot); whoever holds key and token is
// the client.

// connectRaw connects as a client of few lines, waits for CONNACK, and leaves.
func connectRaw(w *world, token ace.Static) error {
	conn, err := dialRaw(w)
	if err != nil {
		return err
	}
	defer conn.Close()
	connect := wire.ConnectPacket{Version: wire.V5, CleanStart: true}
	return exchange(w, conn, token, connect)
}

// long is a watchdog for what a thousand clients do at once.
const long = 10 * time.Minute

func dialRaw(w *world) (net.Conn, error) {
	dialer := tls.Dialer{Config: w.tls(0)}
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	return dialer.DialContext(ctx, "tcp", w.address)
}

// exchange lets the client scheme authenticate a CONNECT of the test's own.
func exchange(w *world, conn net.Conn, token ace.Static, connect wire.ConnectPacket) error {
	auth, err := ace.New(ace.Config{Source: token})
	if err != nil {
		return err
	}
	secured, err := auth.Conn(context.Background(), conn)
	if err != nil {
		return err
	}
	p, err := connect.Append(nil)
	if err != nil {
		return err
	}
	if _, err := secured.Write(p); err != nil {
		return err
	}
	_ = secured.SetReadDeadline(time.Now().Add(long))
	answer, err := wire.Read(secured, 1<<16)
	if err != nil {
		return err
	}
	m, err := wire.ParseConnack(answer, connect.Version)
	if err == nil && m.Code != 0 {
		err = fmt.Errorf("%w: 0x%02X", errDenied, m.Code)
	}
	return err
}

// falseBroker listens with a certificate of the same authority and hands over the CONNECT that a client sends it.
func falseBroker(t testing.TB, presents *tls.Config) (address string, got chan wire.Packet) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", presents)
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	got = make(chan wire.Packet, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if p, err := wire.Read(conn, 1<<20); err == nil {
				note(got, p)
			}
			conn.Close()
		}
	}()
	return listener.Addr().String(), got
}

// TestReplayedConnect: a CONNECT with its proof, taken from one TLS session, is worth nothing in another (attack 4),
// on either version; nor is one that the client sent to a false broker, whose certificate it trusted.
func TestReplayedConnect(t *testing.T) {
	for _, version := range []int{3, 5} {
		for _, algorithm := range []string{"HS256", "EdDSA", "ES256"} {
			w := newWorld(t, settings{})
			presents, err := w.authority.ServerConfig()
			require.NoError(t, err)
			address, got := falseBroker(t, presents)
			victim := *w
			victim.address = address
			id := newClientID()
			auth := authenticator(t, ace.Config{Source: w.static(id, "jwt", algorithm)})
			if version == 3 {
				_, _, err := dialV3(&victim, auth, options{id: id, tls: w.tls(0), once: true})
				require.Error(t, err)
			} else {
				dialV5(&victim, auth, options{id: id, tls: w.tls(0), once: true})
			}
			captured := next(t, got, "the victim's CONNECT")
			for range 2 {
				conn, err := dialRaw(w)
				require.NoError(t, err)
				_, err = conn.Write(captured)
				require.NoError(t, err)
				answer, err := wire.Read(conn, 1<<16)
				require.NoError(t, err)
				m, err := wire.ParseConnack(answer, wire.Version(map[int]wire.Version{3: wire.V311, 5: wire.V5}[version]))
				require.NoError(t, err)
				require.Equal(t, map[int]byte{3: 5, 5: 0x87}[version], m.Code)
				conn.Close()
			}
			require.Zero(t, w.listener.Counters().Admitted)
			require.EqualValues(t, 2, w.listener.Counters().ProofFailed)
		}
	}
}

// TestStolenToken: without the key it lets nobody in, by exporter or challenge, on either version (attack 6).
func TestStolenToken(t *testing.T) {
	w := newWorld(t, settings{})
	for _, format := range formats {
		stolen, own := w.static(newClientID(), format, "HS256"), w.static(newClientID(), format, "HS256")
		stolen.Key = own.Key
		for _, challenge := range []bool{false, true} {
			auth := authenticator(t, ace.Config{Source: stolen, Challenge: challenge})
			_, events := dialV5(w, auth, options{id: "thief", tls: w.tls(0), once: true})
			var refused *ace.NotAuthorizedError
			require.ErrorAs(t, next(t, events.refused, "a refusal"), &refused)
		}
		_, _, err := dialV3(w, authenticator(t, ace.Config{Source: stolen}), options{id: "thief", tls: w.tls(0), once: true})
		require.Error(t, err)
	}
	require.Zero(t, w.listener.Counters().Admitted)
	require.EqualValues(t, 9, w.listener.Counters().ProofFailed)
}

// TestStolenClientIdentifier: a client with a valid token of its own gets at nobody else's session, connected or not
// (attack 6).
func TestStolenClientIdentifier(t *testing.T) {
	for _, version := range []int{3, 5} {
		w := newWorld(t, settings{})
		victim, thief := newClientID(), newClientID()
		app, events := w.connected(version, authenticator(t, ace.Config{Source: w.static(victim, "jwt", "EdDSA")}),
			options{id: victim, tls: w.tls(0), persistent: true, once: true})
		require.NoError(t, app.subscribe("site/"+victim+"/#", 1))
		auth := authenticator(t, ace.Config{Source: w.static(thief, "jwt", "EdDSA")})
		steal := func() {
			_, refused := dialV5(w, auth, options{id: victim, tls: w.tls(0), persistent: true, once: true})
			require.ErrorContains(t, next(t, refused.refused, "a refusal"), "133", "0x85")
			_, _, err := dialV3(w, auth, options{id: victim, tls: w.tls(0), persistent: true, once: true})
			require.Error(t, err)
		}
		steal()
		require.Empty(t, events.lost)
		app.close()
		require.Eventually(t, func() bool { return w.listener.Counters().Active == 0 }, patience, time.Millisecond)
		steal()
		require.NoError(t, w.direct().publish("site/"+victim+"/secret", 1, false, "for the victim"))
		_, events = w.connected(version, authenticator(t, ace.Config{Source: w.static(victim, "jwt", "EdDSA")}),
			options{id: victim, tls: w.tls(0), persistent: true, once: true})
		require.Equal(t, "site/"+victim+"/secret for the victim", next(t, events.messages, "what came meanwhile"))
	}
}

// TestFalseBroker without a certificate that the client trusts gets no token to see (attack 7).
func TestFalseBroker(t *testing.T) {
	w := newWorld(t, settings{})
	other := newWorld(t, settings{})
	presents, err := other.authority.ServerConfig()
	require.NoError(t, err)
	victim := *w
	var got chan wire.Packet
	victim.address, got = falseBroker(t, presents)
	id := newClientID()
	auth := authenticator(t, ace.Config{Source: w.static(id, "jwt", "EdDSA")})
	_, events := dialV5(&victim, auth, options{id: id, tls: w.tls(0), once: true})
	require.Error(t, next(t, events.refused, "a refusal"))
	_, _, err = dialV3(&victim, auth, options{id: id, tls: w.tls(0), once: true})
	require.Error(t, err)
	require.Empty(t, got)
}

// TestTokenForAnotherBroker: the same server, the same keys, another audience (attack 16).
func TestTokenForAnotherBroker(t *testing.T) {
	w := newWorld(t, settings{broker: func(cfg *acebroker.Config) { cfg.Audience = []string{"jwt"} }})
	for _, format := range []string{"cwt", "ref"} {
		id := newClientID()
		_, events := dialV5(w, authenticator(t, ace.Config{Source: w.static(id, format, "EdDSA")}), options{id: id, tls: w.tls(0), once: true})
		var refused *ace.NotAuthorizedError
		require.ErrorAs(t, next(t, events.refused, "a refusal"), &refused)
	}
	require.Contains(t, w.log.String(), "token is for another audience")
}

// TestSniffedConnection: an eavesdropper sees neither token nor secret, though it sees every byte (attack 1).
func TestSniffedConnection(t *testing.T) {
	w := newWorld(t, settings{})
	id := newClientID()
	token := w.static(id, "ref", "HS256")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	seen := make(chan []byte, 2)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", w.address)
		if err != nil {
			return
		}
		tap := func(to, from net.Conn) {
			var all bytes.Buffer
			_, _ = all.ReadFrom(&teeConn{from, to})
			to.Close()
			seen <- all.Bytes()
		}
		go tap(up, conn)
		tap(conn, up)
	}()
	victim := *w
	victim.address = listener.Addr().String()
	app, _ := victim.connected(5, authenticator(t, ace.Config{Source: token}), options{id: id, tls: w.tls(0), once: true})
	require.NoError(t, app.publish("site/"+id+"/x", 1, false, "payload in clear text"))
	app.close()
	for range 2 {
		wireBytes := next(t, seen, "the recording")
		require.NotEmpty(t, wireBytes)
		for _, secret := range []string{string(token.Raw), base64.RawURLEncoding.EncodeToString(token.Raw), "payload in clear text"} {
			require.False(t, bytes.Contains(wireBytes, []byte(secret)))
		}
	}
}

// teeConn reads from one connection and writes the same to another.
type teeConn struct{ from, to net.Conn }

func (c *teeConn) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if n > 0 {
		if _, werr := c.to.Write(p[:n]); werr != nil {
			return n, errors.Join(err, werr)
		}
	}
	return n, err
}

// TestOldTLS: 1.1 is not spoken (attack 15).
func TestOldTLS(t *testing.T) {
	w := newWorld(t, settings{})
	cfg := w.tls(0)
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err := tls.Dial("tcp", w.address, cfg)
	require.ErrorContains(t, err, "protocol version")
	cfg = w.tls(0)
	cfg.NextProtos = []string{"http/1.1"}
	_, err = tls.Dial("tcp", w.address, cfg)
	require.ErrorContains(t, err, "no application protocol", "another protocol's client has no business here")
}

// TestMalformedPackets: rubbish, lengths that lie and endless packets before authentication end the connection, and
// cost no memory that counts (attack 13).
func TestMalformedPackets(t *testing.T) {
	w := newWorld(t, settings{})
	big := append([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F}, make([]byte, 16<<10)...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for name, bad := range map[string][]byte{
		"rubbish":            bytes.Repeat([]byte{0xA5}, 1000),
		"zeros":              make([]byte, 1000),
		"HTTP":               []byte("GET / HTTP/1.1\r\nHost: broker\r\n\r\n"),
		"PUBLISH first":      {0x30, 5, 0, 1, 'a', 'x', 'y'},
		"AUTH first":         {0xF0, 0},
		"reserved flags":     {0x11, 0},
		"a length of 256 MB": big,
		"an overlong length": {0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
		"unknown version":    {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 9, 2, 0, 60, 0, 0, 1, 'c'},
		"unknown protocol":   {0x10, 13, 0, 4, 'M', 'Q', 'T', 'X', 4, 2, 0, 60, 0, 1, 'c'},
		"method twice":       {0x10, 27, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 12, 21, 0, 3, 'a', 'c', 'e', 21, 0, 3, 'a', 'c', 'e', 0, 1, 'c', 0},
	} {
		conn, err := dialRaw(w)
		require.NoError(t, err)
		_, _ = conn.Write(bad) // of which the first bytes may be enough
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		p, err := wire.Read(conn, 1<<16)
		if err == nil {
			require.Equal(t, wire.Connack, p.Type(), name)
			_, err = wire.Read(conn, 1<<16)
		}
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "%s: the connection stands", name)
		conn.Close()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20))
	require.Zero(t, w.listener.Counters().Admitted)
}

// TestHalfOpenConnections: connections that never authenticate are held for the time limit and no longer, so many and
// no more, and an honest client gets in among them (attack 14).
func TestHalfOpenConnections(t *testing.T) {
	w := newWorld(t, settings{broker: func(cfg *acebroker.Config) { cfg.MaxPending, cfg.MaxPendingPerSource = 64, 64 }})
	var flood []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", w.address)
		require.NoError(t, err)
		flood = append(flood, conn)
	}
	id := newClientID()
	app, _ := w.connected(5, authenticator(t, ace.Config{Source: w.static(id, "jwt", "EdDSA")}), options{id: id, tls: w.tls(0)})
	require.NoError(t, app.publish("site/"+id+"/x", 1, false, "x"))
	require.Eventually(t, func() bool { return w.listener.Counters().HandshakesFailed >= 300-64 }, patience, time.Millisecond)
	for _, conn := range flood {
		conn.Close()
	}
}
