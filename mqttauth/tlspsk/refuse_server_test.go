package tlspsk

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
)

// TestServerRefusesHello covers what a server says to each hello that is wrong by RFC 8446 sections 4.1.2, 4.2 and 9.2,
// RFC 5246, 7301, 7507 and 7627. Hellos that do not parse are in package message.
func TestServerRefusesHello(t *testing.T) {
	v12 := func(c *Config) { c.MaxVersion = TLS12 }
	v13 := func(c *Config) { c.MinVersion = TLS13 }
	for name, tt := range map[string]struct {
		client func(*Config)
		edit   func(m *message.ClientHello)
		want   AlertError
	}{
		"SSL 3.0":             {v12, func(m *message.ClientHello) { m.Version = 0x0300 }, alertProtocolVersion},
		"TLS 1.1":             {v12, func(m *message.ClientHello) { m.Version = 0x0302 }, alertProtocolVersion},
		"unknown versions":    {v13, func(m *message.ClientHello) { m.Versions = []uint16{0x7f1c, 0x0305} }, alertProtocolVersion},
		"fallback":            {v12, func(m *message.ClientHello) { m.Suites = append(m.Suites, message.SuiteFallback) }, alertInappropriateFallback},
		"compression":         {v13, func(m *message.ClientHello) { m.Compressions = []byte{1, 0} }, alertIllegalParameter},
		"compression only":    {v12, func(m *message.ClientHello) { m.Compressions = []byte{1} }, alertIllegalParameter},
		"no suite":            {v13, func(m *message.ClientHello) { m.Suites = []uint16{0x1302, 0xCCAC} }, alertHandshakeFailure},
		"no suite in TLS 1.2": {v12, func(m *message.ClientHello) { m.Suites = []uint16{0x1301, 0xC02F} }, alertHandshakeFailure},
		"no group": {v13, func(m *message.ClientHello) {
			m.Groups, m.KeyShares = []uint16{24}, []message.KeyShare{{Group: 24, Key: []byte{1}}}
		}, alertHandshakeFailure},
		"no group in TLS 1.2":  {v12, func(m *message.ClientHello) { m.Groups = []uint16{24} }, alertHandshakeFailure},
		"no groups in TLS 1.2": {v12, func(m *message.ClientHello) { m.Groups = nil }, alertHandshakeFailure},
		"no master secret":     {v12, func(m *message.ClientHello) { m.ExtendedMasterSecret = false }, alertHandshakeFailure},
		"no key shares":        {v13, func(m *message.ClientHello) { m.KeyShares = nil }, alertMissingExtension},
		"no supported groups":  {v13, func(m *message.ClientHello) { m.Groups = nil }, alertMissingExtension},
		"neither":              {v13, func(m *message.ClientHello) { m.Groups, m.KeyShares = nil, nil }, alertHandshakeFailure},
		"no identity":          {v13, func(m *message.ClientHello) { m.Identities = nil }, alertMissingExtension},
		"no modes":             {v13, func(m *message.ClientHello) { m.PSKModes = nil }, alertMissingExtension},
		"psk_ke only":          {v13, func(m *message.ClientHello) { m.PSKModes = []byte{0} }, alertHandshakeFailure},
		"share of no group":    {v13, func(m *message.ClientHello) { m.Groups = []uint16{23} }, alertIllegalParameter},
		"shares in another order": {v13, func(m *message.ClientHello) {
			m.KeyShares = append([]message.KeyShare{{Group: 23, Key: []byte{4}}}, m.KeyShares...)
		}, alertIllegalParameter},
		"share of low order": {v13, func(m *message.ClientHello) { m.KeyShares[0].Key = make([]byte, 32) }, alertIllegalParameter},
		"short share":        {v13, func(m *message.ClientHello) { m.KeyShares[0].Key = m.KeyShares[0].Key[:31] }, alertIllegalParameter},
		"point not on the curve": {v13, func(m *message.ClientHello) {
			m.Groups, m.KeyShares = []uint16{23}, []message.KeyShare{{Group: 23, Key: append([]byte{4}, make([]byte, 64)...)}}
		}, alertIllegalParameter},
		"compressed point": {v13, func(m *message.ClientHello) {
			m.Groups, m.KeyShares = []uint16{23}, []message.KeyShare{{Group: 23, Key: append([]byte{2}, make([]byte, 32)...)}}
		}, alertIllegalParameter},
		"another protocol":        {v13, func(m *message.ClientHello) { m.Protocols = []string{"h2"} }, alertNoApplicationProtocol},
		"another protocol in 1.2": {v12, func(m *message.ClientHello) { m.Protocols = []string{"h2"} }, alertNoApplicationProtocol},
		"unknown identity":        {v13, func(m *message.ClientHello) { m.Identities = [][]byte{[]byte("nobody")} }, alertDecryptError},
	} {
		t.Run(name, func(t *testing.T) {
			cc := clientConfig()
			tt.client(cc)
			h, result := puppetClient(t, cc, serverConfig(), tt.edit)
			require.Equal(t, tt.want.Name(), alertIn(t, h.conn).Name())
			requireFault(t, tt.want, result())
		})
	}
}

// TestServerRefusesEarlyData: nobody was told that it may be sent, and it would be replayed.
func TestServerRefusesEarlyData(t *testing.T) {
	h := &serverHandshake{hello: &message.ClientHello{Compressions: []byte{0}, PSKModes: []byte{message.PSKWithDHE}}}
	for _, typ := range []uint16{message.ExtSupportedGroups, message.ExtKeyShare, message.ExtPSKModes, message.ExtPreSharedKey} {
		h.hello.Extensions = append(h.hello.Extensions, message.Extension{Type: typ})
	}
	require.NoError(t, h.check13())
	h.hello.Extensions = append(message.Extensions{{Type: message.ExtEarlyData}}, h.hello.Extensions...)
	requireFault(t, alertUnsupportedExtension, h.check13())
}

// TestServerTakesHello covers what a server has to tolerate (RFC 8446 sections 4.2 and 9.3).
func TestServerTakesHello(t *testing.T) {
	for name, edit := range map[string]func(m *message.ClientHello){
		"unknown suites, groups, versions, modes": func(m *message.ClientHello) {
			m.Suites = append([]uint16{0x0a0a, 0x1302}, m.Suites...)
			m.Groups = append([]uint16{0x1a1a, 4588}, m.Groups...)
			m.Versions = append([]uint16{0x2a2a}, m.Versions...)
			m.PSKModes = append([]byte{0, 11}, m.PSKModes...)
			m.KeyShares = append([]message.KeyShare{{Group: 0x1a1a, Key: []byte{0}}}, m.KeyShares...)
			m.Protocols = append([]string{"\x0a\x0a"}, m.Protocols...)
		},
		"a session id":  func(m *message.ClientHello) { m.SessionID = bytes.Repeat([]byte{7}, 32) },
		"no protocol":   func(m *message.ClientHello) { m.Protocols = nil },
		"a server name": func(m *message.ClientHello) { m.ServerName = "broker.example.org" },
	} {
		t.Run(name, func(t *testing.T) {
			cc := clientConfig()
			cc.MinVersion = TLS13
			h, result := puppetClient(t, cc, serverConfig(), edit)
			server, raw, err := h.readServerHello()
			require.NoError(t, err)
			require.NoError(t, h.check13(server))
			_, err = h.finish13(server, raw)
			require.NoError(t, err)
			require.NoError(t, result())
			require.Equal(t, len(h.hello.SessionID) > 0, h.in.sawCCS, "change_cipher_spec is for those who play TLS 1.2")
		})
	}
}

// TestServerChoosesAmongIdentities: the first that is known, whatever stands before it, as long as it is one of the
// first few.
func TestServerChoosesAmongIdentities(t *testing.T) {
	ticket := func(n int) (list [][]byte) {
		for range n {
			b := make([]byte, 40)
			rand.Read(b)
			list = append(list, b)
		}
		return list
	}
	for before, want := range map[int]bool{0: true, 1: true, maxLookedUp - 1: true, maxLookedUp: false} {
		cc := clientConfig()
		cc.MinVersion = TLS13
		// Only the last binder is right, which is where SetBinder puts it.
		h, result := puppetClient(t, cc, serverConfig(), func(m *message.ClientHello) {
			m.Identities = append(ticket(before), m.Identities...)
		})
		if !want {
			require.Equal(t, alertDecryptError, alertIn(t, h.conn))
			require.ErrorIs(t, result(), ErrUnknownIdentity)
			continue
		}
		server, raw, err := h.readServerHello()
		require.NoError(t, err)
		require.NoError(t, h.check13(server))
		require.EqualValues(t, before, server.Identity)
		server.Identity = 0
		_, err = h.finish13(server, raw)
		require.NoError(t, err)
		require.NoError(t, result())
	}
}

// TestBinderIsChecked changes each octet of the binder, and what it is computed over.
func TestBinderIsChecked(t *testing.T) {
	for i := range message.HashLen {
		err := shakeThrough(t, variant{TLS13, TLS_AES_128_GCM_SHA256, X25519}, func(n int, raw []byte) [][]byte {
			if n == 0 {
				raw[len(raw)-1-i] ^= 0x40
			}
			return [][]byte{raw}
		}, unedited)
		require.ErrorIs(t, err, ErrAuthentication)
		require.ErrorIs(t, err, alertDecryptError)
	}
}

// TestServerRefusesSecondHello covers RFC 8446 section 4.1.2: after HelloRetryRequest only the key share may change.
func TestServerRefusesSecondHello(t *testing.T) {
	for name, edit := range map[string]func(m *message.ClientHello){
		"random":      func(m *message.ClientHello) { m.Random[5] ^= 1 },
		"session id":  func(m *message.ClientHello) { m.SessionID = []byte{1} },
		"suites":      func(m *message.ClientHello) { m.Suites = m.Suites[:1] },
		"groups":      func(m *message.ClientHello) { m.Groups = []uint16{23} },
		"server name": func(m *message.ClientHello) { m.ServerName = "another" },
		"protocols":   func(m *message.ClientHello) { m.Protocols = []string{"mqtt", "more"} },
		"versions":    func(m *message.ClientHello) { m.Versions = []uint16{0x0304, 0x0303} },
		"two shares": func(m *message.ClientHello) {
			m.KeyShares = append([]message.KeyShare{{Group: 29, Key: []byte{1}}}, m.KeyShares...)
		},
		"other share":  func(m *message.ClientHello) { m.KeyShares = []message.KeyShare{{Group: 29, Key: make([]byte, 32)}} },
		"modes":        func(m *message.ClientHello) { m.PSKModes = []byte{1, 0} },
		"no extension": func(m *message.ClientHello) { m.Protocols = nil },
	} {
		t.Run(name, func(t *testing.T) {
			cc, sc := clientConfig(), serverConfig()
			cc.MinVersion = TLS13
			sc.groups = []Group{P256}
			h, result := puppetClient(t, cc, sc, func(*message.ClientHello) {})
			server, raw, err := h.readServerHello()
			require.NoError(t, err)
			require.True(t, server.IsRetry())
			require.Equal(t, P256, Group(server.RetryGroup))
			h.hello.Cookie = nil
			h.group = P256
			h.private, err = P256.curve().GenerateKey(rand.Reader)
			require.NoError(t, err)
			h.hello.KeyShares = []message.KeyShare{share(P256, h.private)}
			first := h.transcript.Sum(nil)
			h.transcript.Reset()
			h.transcript.Write(message.Hash(first))
			h.transcript.Write(raw)
			edit(h.hello)
			require.NoError(t, h.sendHello())
			require.Equal(t, alertIllegalParameter.Name(), alertIn(t, h.conn).Name())
			requireFault(t, alertIllegalParameter, result())
		})
	}
}

// TestServerRefusesOrder sends messages of both versions where they do not belong.
func TestServerRefusesOrder(t *testing.T) {
	finished := message.EncodeFinished(make([]byte, 32))
	exchange, err := (&message.ClientKeyExchange{Identity: []byte(deviceName), Key: make([]byte, 32)}).Encode()
	require.NoError(t, err)
	hello, err := (&message.ClientHello{Version: 0x0303, Suites: []uint16{1}, Compressions: []byte{0}}).Encode()
	require.NoError(t, err)

	first := map[string][]byte{"Finished": finished, "ClientKeyExchange": exchange, "KeyUpdate": message.EncodeKeyUpdate(false),
		"ServerHelloDone": message.EncodeServerHelloDone(), "HelloRequest": {0, 0, 0, 0}}
	for name, raw := range first {
		t.Run("first: "+name, func(t *testing.T) {
			a, b := tcpPair(t)
			result := handshaking(t, Server(b, serverConfig()))
			Client(a, clientConfig()).send(t, raw)
			require.Equal(t, alertUnexpectedMessage, alertIn(t, a))
			requireFault(t, alertUnexpectedMessage, result())
		})
	}
	for name, raw := range map[string][]byte{"hello": hello, "Finished": finished, "KeyUpdate": message.EncodeKeyUpdate(true)} {
		t.Run("in place of ClientKeyExchange: "+name, func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion = TLS12
			h, result := puppetClient(t, cc, serverConfig(), func(*message.ClientHello) {})
			h.send(t, raw)
			require.Equal(t, alertUnexpectedMessage, alertIn(t, h.conn))
			requireFault(t, alertUnexpectedMessage, result())
		})
	}
	t.Run("ClientKeyExchange twice", func(t *testing.T) {
		cc := clientConfig()
		cc.MaxVersion = TLS12
		h, result := puppetClient(t, cc, serverConfig(), func(*message.ClientHello) {})
		key, err := (&message.ClientKeyExchange{Identity: []byte(deviceName), Key: h.private.PublicKey().Bytes()}).Encode()
		require.NoError(t, err)
		h.send(t, key, key)
		require.Equal(t, alertUnexpectedMessage, alertIn(t, h.conn))
		requireFault(t, alertUnexpectedMessage, result())
	})
	t.Run("Finished without change_cipher_spec", func(t *testing.T) {
		cc := clientConfig()
		cc.MaxVersion = TLS12
		h, result := puppetClient(t, cc, serverConfig(), func(*message.ClientHello) {})
		key, err := (&message.ClientKeyExchange{Identity: []byte(deviceName), Key: h.private.PublicKey().Bytes()}).Encode()
		require.NoError(t, err)
		h.send(t, key)
		h.send(t, message.EncodeFinished(make([]byte, 12)))
		require.Equal(t, alertUnexpectedMessage, alertIn(t, h.conn))
		requireFault(t, alertUnexpectedMessage, result())
	})
	for name, groups := range map[string][]Group{"hello twice in one record": nil, "and before HelloRetryRequest": {P256}} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			client := Client(&tap{Conn: a, edit: func(i int, raw []byte) [][]byte {
				body := raw[record.HeaderLen:]
				twice := record.AppendFirst(nil, record.Handshake, append(bytes.Clone(body), body...))
				return [][]byte{twice}
			}}, clientConfig())
			sc := serverConfig()
			sc.groups = groups
			result := handshaking(t, Server(b, sc))
			require.Equal(t, alertUnexpectedMessage, client.Handshake())
			requireFault(t, alertUnexpectedMessage, result())
		})
	}
}

// TestServerRefusesBeforeFinished: a client that has the key, and says something else in place of its Finished.
func TestServerRefusesBeforeFinished(t *testing.T) {
	hello, err := (&message.ClientHello{Version: 0x0303, Suites: []uint16{1}, Compressions: []byte{0}}).Encode()
	require.NoError(t, err)
	ticket := append([]byte{byte(message.TypeNewSessionTicket), 0, 0, 40}, make([]byte, 40)...)
	messages := func(raw ...byte) func(*Conn) { return func(c *Conn) { inject(t, c, record.Handshake, raw) } }
	for name, c := range map[string]struct {
		send func(*Conn)
		want AlertError
	}{
		"hello":           {messages(hello...), alertUnexpectedMessage},
		"KeyUpdate":       {messages(message.EncodeKeyUpdate(false)...), alertUnexpectedMessage},
		"ticket":          {messages(ticket...), alertUnexpectedMessage},
		"end of early":    {messages(5, 0, 0, 0), alertUnexpectedMessage},
		"wrong Finished":  {messages(message.EncodeFinished(make([]byte, 32))...), alertDecryptError},
		"short Finished":  {messages(message.EncodeFinished(make([]byte, 12))...), alertDecodeError},
		"data":            {func(c *Conn) { inject(t, c, record.Data, []byte("x")) }, alertUnexpectedMessage},
		"nothing":         {func(c *Conn) { injectEmpty(t, c, record.Handshake) }, alertUnexpectedMessage},
		"part, then data": {func(c *Conn) { messages(20, 0)(c); inject(t, c, record.Data, []byte("x")) }, alertUnexpectedMessage},
		"in the clear": {func(c *Conn) {
			c.out.cipher = nil
			inject(t, c, record.Handshake, message.EncodeFinished(make([]byte, 32)))
		}, alertUnexpectedMessage},
		"long alert in the clear": {func(c *Conn) {
			c.out.cipher = nil
			inject(t, c, record.Alert, []byte{levelFatal, byte(alertInternalError), 0})
		}, alertUnexpectedMessage},
		"part, then alert in the clear": {func(c *Conn) {
			messages(20, 0)(c)
			c.out.cipher = nil
			inject(t, c, record.Alert, []byte{levelFatal, byte(alertInternalError)})
		}, alertUnexpectedMessage},
	} {
		t.Run(name, func(t *testing.T) {
			cc := clientConfig()
			cc.MinVersion = TLS13
			h, result := puppetClient(t, cc, serverConfig(), func(*message.ClientHello) {})
			server, raw, err := h.readServerHello()
			require.NoError(t, err)
			require.NoError(t, h.check13(server))
			h.transcript.Write(raw)
			shared, err := agree(h.private, server.KeyShare.Key)
			require.NoError(t, err)
			h.secrets.Handshake(shared)
			_, err = h.keys13(CipherSuite(server.Suite), h.transcript.Sum(nil))
			require.NoError(t, err)
			c.send(h.Conn)
			requireFault(t, c.want, result())
		})
	}
}

// TestServerRefusesItsOwnIdentity is the reflected hello of RFC 9257 section 4.1 (Selfie): an end that is client and
// server with one key must not talk to itself.
func TestServerRefusesItsOwnIdentity(t *testing.T) {
	for _, version := range []Version{TLS12, TLS13} {
		both := clientConfig()
		both.MaxVersion = version
		both.Keys = serverConfig().Keys
		a, b := tcpPair(t)
		clientErr, serverErr := shake(Client(a, both), Server(b, both))
		require.Error(t, clientErr)
		require.ErrorIs(t, serverErr, ErrUnknownIdentity)
	}
}

// TestWeakKeysServeNobody: what Keys returns is checked as a client's key is.
func TestWeakKeysServeNobody(t *testing.T) {
	for _, version := range []Version{TLS12, TLS13} {
		weak := []byte("correct horse battery staple")
		cc, sc := clientConfig(), serverConfig()
		cc.MaxVersion = version
		sc.Keys = func(string) []byte { return weak }
		a, b := tcpPair(t)
		clientErr, serverErr := shake(Client(a, cc), Server(b, sc))
		require.Error(t, clientErr)
		require.ErrorIs(t, serverErr, ErrWeakKey)
		require.ErrorIs(t, serverErr, ErrUnknownIdentity)
	}
}
