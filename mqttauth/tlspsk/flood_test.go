package tlspsk

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// These tests are a peer that knows the key, or does not need it, and wants the other end to work or to grow for
// nothing: records without data, alerts, updates of keys, tickets, and long handshakes. How many connections such a
// peer may have is not covered.

// TestRecordsWithoutDataAreBounded: as many as maxIdle in a row, of any kind, and not one more; data begin the count
// again.
func TestRecordsWithoutDataAreBounded(t *testing.T) {
	ticket := append([]byte{byte(message.TypeNewSessionTicket), 0, 0, 40}, make([]byte, 40)...)
	kinds := map[string]struct {
		version Version
		send    func(c *Conn)
	}{
		"empty data, 1.3": {TLS13, func(c *Conn) { injectEmpty(t, c, record.Data) }},
		"empty data, 1.2": {TLS12, func(c *Conn) { injectEmpty(t, c, record.Data) }},
		"KeyUpdate": {TLS13, func(c *Conn) {
			c.out.Lock()
			defer c.out.Unlock()
			require.NoError(t, c.updateKey())
			require.NoError(t, c.flush())
		}},
		"NewSessionTicket": {TLS13, func(c *Conn) { inject(t, c, record.Handshake, ticket) }},
		"user_canceled":    {TLS13, func(c *Conn) { inject(t, c, record.Alert, []byte{1, byte(alertUserCanceled)}) }},
		"warnings":         {TLS12, func(c *Conn) { inject(t, c, record.Alert, []byte{levelWarning, byte(alertNoRenegotiation)}) }},
		"HelloRequest":     {TLS12, func(c *Conn) { inject(t, c, record.Handshake, []byte{0, 0, 0, 0}) }},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion = kind.version
			client, server := pair(t, cc, serverConfig())
			for range 3 {
				for range maxIdle {
					kind.send(server)
				}
				exchange(t, server, client, 10)
			}
			for range maxIdle + 1 {
				kind.send(server)
			}
			_, err := client.Read(make([]byte, 1))
			requireFault(t, alertUnexpectedMessage, err)
			require.Equal(t, alertUnexpectedMessage, alertSeen(t, server))
			_, again := client.Read(make([]byte, 1))
			require.Equal(t, err, again, "sticky")
			_, err = client.Write([]byte("x"))
			require.Error(t, err, "in both directions")
		})
	}
}

// TestRequestedUpdatesCollapse: a peer that asks for updates again and again gets one, with the next data, and none
// without.
func TestRequestedUpdatesCollapse(t *testing.T) {
	client, server := pair(t, clientConfig(), serverConfig())
	before := bytes.Clone(client.out.secret)
	for range maxIdle {
		server.out.Lock()
		require.NoError(t, server.queue(record.Handshake, message.EncodeKeyUpdate(true)))
		secret := nextSecret(server.out.secret)
		cipher, err := cipher13(server.ConnectionState().CipherSuite, secret)
		require.NoError(t, err)
		server.out.setKeys13(cipher, secret)
		require.NoError(t, server.flush())
		server.out.Unlock()
	}
	exchange(t, server, client, 1)
	require.Equal(t, before, client.out.secret, "nothing was written yet")
	exchange(t, client, server, 1)
	require.Equal(t, nextSecret(before), client.out.secret, "one update")
	require.Equal(t, client.out.secret, server.in.secret)
}

// TestRecordLengths covers both limits of RFC 8446 section 5.2 and RFC 5246 section 6.2: on the wire, and of what is
// inside.
func TestRecordLengths(t *testing.T) {
	for _, v := range onePerSuite() {
		t.Run(v.String(), func(t *testing.T) {
			send := func(n int) *Conn {
				client, server := pair(t, v.apply(clientConfig()), serverConfig())
				raw, err := server.out.cipher.Append(nil, record.Data, make([]byte, n))
				require.NoError(t, err)
				_, err = server.conn.Write(raw)
				require.NoError(t, err)
				return client
			}
			client := send(record.MaxPlaintext)
			_, err := io.ReadFull(client, make([]byte, record.MaxPlaintext))
			require.NoError(t, err)
			_, err = send(record.MaxPlaintext + 1).Read(make([]byte, 1))
			requireFault(t, alertRecordOverflow, err)
			_, err = send(record.MaxPlaintext + 3000).Read(make([]byte, 1))
			requireFault(t, alertRecordOverflow, err)
		})
	}
	t.Run("in the clear", func(t *testing.T) {
		a, b := tcpPair(t)
		result := handshaking(t, Server(b, serverConfig()))
		_, err := a.Write([]byte{22, 3, 1, 0x40, 1})
		require.NoError(t, err)
		requireFault(t, alertRecordOverflow, result())
	})
}

// TestWritesAreCut: what is longer than a record leaves in several, none too long, and nothing leaves for nothing.
func TestWritesAreCut(t *testing.T) {
	a, b := tcpPair(t)
	longest := 0
	client, server := Client(&tap{Conn: a, edit: func(_ int, raw []byte) [][]byte {
		longest = max(longest, len(raw))
		return [][]byte{raw}
	}}, clientConfig()), Server(b, serverConfig())
	clientErr, serverErr := shake(client, server)
	require.NoError(t, clientErr)
	require.NoError(t, serverErr)
	n, err := client.Write(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	exchange(t, client, server, 5*record.MaxPlaintext+1)
	require.Equal(t, record.HeaderLen+record.MaxPlaintext+1+16, longest)
}

// TestHandshakeMessagesAreBounded: a length that lies, and one that does not, cost no more than what arrives.
func TestHandshakeMessagesAreBounded(t *testing.T) {
	t.Run("too long", func(t *testing.T) {
		a, b := tcpPair(t)
		result := handshaking(t, Server(b, serverConfig()))
		_, err := a.Write([]byte{22, 3, 1, 0, 4, 1, 1, 0, 0})
		require.NoError(t, err)
		require.Equal(t, alertDecodeError, alertIn(t, a))
		requireFault(t, alertDecodeError, result())
	})
	t.Run("longest", func(t *testing.T) { // an identity of the full length works
		cc, sc := clientConfig(), serverConfig()
		cc.Identity = string(bytes.Repeat([]byte{'x'}, maxIdentity))
		sc.Keys = func(identity string) []byte {
			if identity != cc.Identity {
				return nil
			}
			return deviceKey
		}
		client, server := pair(t, cc, sc)
		require.Equal(t, cc.Identity, server.ConnectionState().Identity)
		exchange(t, client, server, 10)
		cc.MaxVersion = TLS12
		client, server = pair(t, cc, sc)
		exchange(t, client, server, 10)
	})
	t.Run("a claim takes no memory", func(t *testing.T) {
		const conns = 200
		before := heap()
		var keep []net.Conn
		for range conns {
			a, b := tcpPair(t)
			keep = append(keep, a)
			server := Server(b, serverConfig())
			_, err := a.Write([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0}) // 16 KiB of a message of 64
			require.NoError(t, err)
			go func() { _ = server.Handshake() }()
			require.Eventually(t, func() bool { // it reads
				free := server.in.TryLock()
				if free {
					server.in.Unlock()
				}
				return !free
			}, patience, time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
		require.Less(t, (heap()-before)/conns, int64(16<<10))
		runtime.KeepAlive(keep)
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestWarningsBeforeAHelloAreBounded is what a server bears of a client that never says what it wants.
func TestWarningsBeforeAHelloAreBounded(t *testing.T) {
	a, b := tcpPair(t)
	result := handshaking(t, Server(b, serverConfig()))
	for range maxIdle + 1 {
		_, err := a.Write([]byte{21, 3, 1, 0, 2, levelWarning, byte(alertUserCanceled)})
		require.NoError(t, err)
	}
	requireFault(t, alertUnexpectedMessage, result())
}

// TestCompatibilityRecordsAreBounded is the same with change_cipher_spec in TLS 1.3 (RFC 8446 section 5), where a few
// are borne.
func TestCompatibilityRecordsAreBounded(t *testing.T) {
	for n, fails := range map[int]bool{1: false, maxIdle: false, maxIdle + 1: true} {
		h, result := puppetServer(t, clientConfig(), serverConfig())
		for range n {
			require.NoError(t, h.sendCCS())
		}
		raw, err := goodHello(t, h).Encode()
		require.NoError(t, err)
		h.send(t, raw)
		_ = h.conn.(*net.TCPConn).CloseWrite()
		if fails {
			requireFault(t, alertUnexpectedMessage, result())
		} else {
			require.ErrorIs(t, result(), io.ErrUnexpectedEOF)
		}
	}
}

// TestRecordsAreRefused covers records that are wrong in themselves, after the handshake.
func TestRecordsAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		version Version
		send    func(c *Conn)
		want    AlertError
	}{
		"change_cipher_spec, 1.3": {TLS13, func(c *Conn) { raw(t, c, 20, 3, 3, 0, 1, 1) }, alertUnexpectedMessage},
		"change_cipher_spec, 1.2": {TLS12, func(c *Conn) { inject(t, c, record.ChangeCipherSpec, []byte{1}) }, alertUnexpectedMessage},
		"in the clear, 1.3":       {TLS13, func(c *Conn) { raw(t, c, 22, 3, 3, 0, 1, 1) }, alertUnexpectedMessage},
		"alert in the clear, 1.3": {TLS13, func(c *Conn) { raw(t, c, 21, 3, 3, 0, 2, 2, 40) }, alertUnexpectedMessage},
		"in the clear, 1.2":       {TLS12, func(c *Conn) { raw(t, c, 23, 3, 3, 0, 1, 1) }, alertBadRecordMAC},
		"unknown type":            {TLS13, func(c *Conn) { raw(t, c, 24, 3, 3, 0, 1, 1) }, alertUnexpectedMessage},
		"unknown type inside":     {TLS13, func(c *Conn) { inject(t, c, 99, []byte{1}) }, alertUnexpectedMessage},
		"padding only":            {TLS13, func(c *Conn) { inject(t, c, 0, []byte{0, 0, 0}) }, alertUnexpectedMessage},
		"no TLS":                  {TLS13, func(c *Conn) { raw(t, c, []byte("HTTP/1.1 200")...) }, alertUnexpectedMessage},
		"not authentic, 1.3":      {TLS13, func(c *Conn) { raw(t, c, append([]byte{23, 3, 3, 0, 20}, make([]byte, 20)...)...) }, alertBadRecordMAC},
		"too short":               {TLS13, func(c *Conn) { raw(t, c, 23, 3, 3, 0, 3, 1, 2, 3) }, alertBadRecordMAC},
		"too short, 1.2":          {TLS12, func(c *Conn) { raw(t, c, 23, 3, 3, 0, 3, 1, 2, 3) }, alertBadRecordMAC},
		"empty handshake":         {TLS13, func(c *Conn) { injectEmpty(t, c, record.Handshake) }, alertUnexpectedMessage},
		"empty alert":             {TLS12, func(c *Conn) { injectEmpty(t, c, record.Alert) }, alertUnexpectedMessage},
		"long alert":              {TLS13, func(c *Conn) { inject(t, c, record.Alert, []byte{1, 0, 1, 0}) }, alertDecodeError},
		"alert level":             {TLS12, func(c *Conn) { inject(t, c, record.Alert, []byte{3, 40}) }, alertIllegalParameter},
		"hello again":             {TLS13, func(c *Conn) { inject(t, c, record.Handshake, []byte{1, 0, 0, 0}) }, alertUnexpectedMessage},
		"Finished again":          {TLS12, func(c *Conn) { inject(t, c, record.Handshake, message.EncodeFinished(make([]byte, 12))) }, alertUnexpectedMessage},
		"KeyUpdate in TLS 1.2":    {TLS12, func(c *Conn) { inject(t, c, record.Handshake, message.EncodeKeyUpdate(false)) }, alertUnexpectedMessage},
		"KeyUpdate, value":        {TLS13, func(c *Conn) { inject(t, c, record.Handshake, []byte{24, 0, 0, 1, 2}) }, alertIllegalParameter},
		"KeyUpdate, length":       {TLS13, func(c *Conn) { inject(t, c, record.Handshake, []byte{24, 0, 0, 2, 0, 0}) }, alertDecodeError},
		"KeyUpdate and more":      {TLS13, func(c *Conn) { inject(t, c, record.Handshake, append(message.EncodeKeyUpdate(false), 4, 0, 0, 0)) }, alertUnexpectedMessage},
		"HelloRequest with more":  {TLS12, func(c *Conn) { inject(t, c, record.Handshake, []byte{0, 0, 0, 1, 0}) }, alertDecodeError},
		"warning in a message": {TLS12, func(c *Conn) {
			inject(t, c, record.Handshake, []byte{0, 0})
			inject(t, c, record.Alert, []byte{levelWarning, byte(alertUserCanceled)})
		}, alertUnexpectedMessage},
		"user_canceled in a message": {TLS13, func(c *Conn) {
			inject(t, c, record.Handshake, []byte{4, 0})
			inject(t, c, record.Alert, []byte{levelWarning, byte(alertUserCanceled)})
		}, alertUnexpectedMessage},
		"data in a message": {TLS13, func(c *Conn) { inject(t, c, record.Handshake, []byte{4, 0}); inject(t, c, record.Data, []byte{1}) }, alertUnexpectedMessage},
	} {
		t.Run(name, func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion = tt.version
			client, server := pair(t, cc, serverConfig())
			tt.send(server)
			require.NoError(t, client.SetReadDeadline(time.Now().Add(patience)))
			_, err := client.Read(make([]byte, 1))
			requireFault(t, tt.want, err)
			require.Equal(t, tt.want.Name(), alertSeen(t, server).Name())
		})
	}
	t.Run("renegotiation", func(t *testing.T) {
		cc := clientConfig()
		cc.MaxVersion = TLS12
		client, server := pair(t, cc, serverConfig())
		inject(t, client, record.Handshake, []byte{1, 0, 0, 0})
		_, err := server.Read(make([]byte, 1))
		requireFault(t, alertNoRenegotiation, err)
	})
	for version, sent := range map[Version][]byte{TLS13: {4, 0, 0, 0}, TLS12: {0, 0, 0, 0}} {
		t.Run("what servers send, to a server: "+version.String(), func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion = version
			client, server := pair(t, cc, serverConfig())
			inject(t, client, record.Handshake, sent)
			require.NoError(t, server.SetReadDeadline(time.Now().Add(patience)))
			_, err := server.Read(make([]byte, 1))
			requireFault(t, alertUnexpectedMessage, err)
		})
	}
}

// raw writes octets past a connection.
func raw(t testing.TB, c *Conn, b ...byte) {
	t.Helper()
	_, err := c.conn.Write(b)
	require.NoError(t, err)
}

// TestPlainMQTTIsRecognised: a client that speaks MQTT without TLS is told so by an alert, and the server by its error.
func TestPlainMQTTIsRecognised(t *testing.T) {
	a, b := tcpPair(t)
	result := handshaking(t, Server(b, serverConfig()))
	_, err := a.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"))
	require.NoError(t, err)
	require.Equal(t, alertUnexpectedMessage, alertIn(t, a))
	require.ErrorContains(t, result(), "does not begin a TLS record")
}

func nextSecret(secret []byte) []byte { return schedule.Update(bytes.Clone(secret)) }
