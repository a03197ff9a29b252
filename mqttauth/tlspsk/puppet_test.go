package tlspsk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// inject sends a record of a connection outside what its methods would send.
func inject(t testing.TB, c *Conn, typ record.Type, payload []byte) {
	t.Helper()
	c.out.Lock()
	defer c.out.Unlock()
	require.NoError(t, c.queue(typ, payload))
	require.NoError(t, c.flush())
}

// injectEmpty sends a record without content, which queue never makes of data.
func injectEmpty(t testing.TB, c *Conn, typ record.Type) {
	t.Helper()
	c.out.Lock()
	defer c.out.Unlock()
	raw, err := c.out.cipher.Append(nil, typ, nil)
	require.NoError(t, err)
	_, err = c.conn.Write(raw)
	require.NoError(t, err)
}

// alertSeen reads from a connection until the peer's alert comes.
func alertSeen(t testing.TB, c *Conn) AlertError {
	t.Helper()
	require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, c)
	var a AlertError
	require.ErrorAs(t, err, &a)
	return a
}

// alertIn reads records in the clear until there is an alert.
func alertIn(t testing.TB, conn net.Conn) AlertError {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	for {
		header := make([]byte, record.HeaderLen)
		_, err := io.ReadFull(conn, header)
		require.NoError(t, err)
		body := make([]byte, int(header[3])<<8|int(header[4]))
		_, err = io.ReadFull(conn, body)
		require.NoError(t, err)
		if record.Type(header[0]) == record.Alert {
			require.Len(t, body, 2)
			require.EqualValues(t, levelFatal, body[0])
			return AlertError(body[1])
		}
	}
}

// handshaking runs a handshake in the background and returns what tells its error.
func handshaking(t testing.TB, c *Conn) (result func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	return func() error {
		t.Helper()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			require.Fail(t, "the handshake does not end")
			return nil
		}
	}
}

// puppetClient sends a ClientHello that edit has changed, with the right binder, to a server.
func puppetClient(t testing.TB, cc, sc *Config, edit func(m *message.ClientHello)) (h *clientHandshake, result func() error) {
	t.Helper()
	a, b := tcpPair(t)
	h = &clientHandshake{Conn: Client(a, cc), config: cc, transcript: sha256.New(), secrets: schedule.Early(cc.Key)}
	require.NoError(t, h.makeHello())
	edit(h.hello)
	result = handshaking(t, Server(b, sc))
	require.NoError(t, h.sendHello())
	return h, result
}

// puppetServer reads a client's hello.
func puppetServer(t testing.TB, cc, sc *Config) (h *serverHandshake, result func() error) {
	t.Helper()
	a, b := tcpPair(t)
	result = handshaking(t, Client(a, cc))
	h = &serverHandshake{Conn: Server(b, sc), transcript: sha256.New()}
	require.NoError(t, h.readHello())
	return h, result
}

// send sends handshake messages in one record.
func (c *Conn) send(t testing.TB, messages ...[]byte) {
	t.Helper()
	require.NoError(t, c.sendMessages(bytes.Join(messages, nil)))
	require.NoError(t, c.endFlight())
}

// requireFault checks why and with which alert an end refused its peer.
func requireFault(t testing.TB, want AlertError, err error) {
	t.Helper()
	var f *fault
	require.ErrorAs(t, err, &f)
	require.Equal(t, want.Name(), f.alert.Name(), "%v", err)
}

// tap is a connection that hands every record that is written to edit, which returns what to write in its place.
type tap struct {
	net.Conn
	edit func(i int, raw []byte) [][]byte
	i    int
	rest []byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.rest = append(c.rest, b...)
	for len(c.rest) >= record.HeaderLen {
		n := record.HeaderLen + int(c.rest[3])<<8 + int(c.rest[4])
		if len(c.rest) < n {
			break
		}
		for _, raw := range c.edit(c.i, bytes.Clone(c.rest[:n])) {
			if _, err := c.Conn.Write(raw); err != nil {
				return 0, err
			}
		}
		c.rest = c.rest[n:]
		c.i++
	}
	return len(b), nil
}

// unedited lets a record pass.
func unedited(_ int, raw []byte) [][]byte { return [][]byte{raw} }

// shakeThrough runs a handshake whose two directions are edited, and returns an error if either side or the data that
// follow fail.
func shakeThrough(t testing.TB, v variant, toServer, toClient func(i int, raw []byte) [][]byte) error {
	t.Helper()
	a, b := tcpPair(t)
	return shakeOver(&tap{Conn: a, edit: toServer}, &tap{Conn: b, edit: toClient}, v)
}

func shakeOver(a, b net.Conn, v variant) error {
	client, server := Client(a, v.apply(clientConfig())), Server(b, v.apply(serverConfig()))
	defer client.Close()
	defer server.Close()
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err != nil {
			_ = b.Close()
		}
		done <- err
	}()
	err := client.Handshake()
	if err != nil {
		_ = a.Close()
	}
	return errors.Join(err, <-done)
}
