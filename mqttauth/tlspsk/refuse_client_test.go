package tlspsk

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// goodHello is a ServerHello of TLS 1.3 that a client takes.
func goodHello(t testing.TB, h *serverHandshake) *message.ServerHello {
	t.Helper()
	h.suite, h.group = TLS_AES_128_GCM_SHA256, X25519
	var err error
	h.private, err = X25519.curve().GenerateKey(rand.Reader)
	require.NoError(t, err)
	m := &message.ServerHello{Version: message.VersionTLS12, SessionID: h.hello.SessionID, Suite: uint16(h.suite),
		SupportedVersion: uint16(TLS13), KeyShare: share(X25519, h.private), SelectedPSK: true}
	rand.Read(m.Random[:])
	return m
}

func goodRetry(h *serverHandshake) *message.ServerHello {
	m := &message.ServerHello{Version: message.VersionTLS12, SessionID: h.hello.SessionID, Suite: uint16(TLS_AES_128_GCM_SHA256),
		SupportedVersion: uint16(TLS13), RetryGroup: uint16(P256)}
	m.SetRetry()
	return m
}

func goodHello12() *message.ServerHello {
	m := &message.ServerHello{Version: message.VersionTLS12, Suite: uint16(TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256),
		ExtendedMasterSecret: true, SecureRenegotiation: true, Protocol: "mqtt"}
	rand.Read(m.Random[:])
	return m
}

// TestClientRefusesServerHello covers what a client says to each ServerHello and HelloRetryRequest that is wrong by RFC
// 8446 sections 4.1.3, 4.1.4 and 4.2. Messages that do not parse are in package message.
func TestClientRefusesServerHello(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(m *message.ServerHello)
		want AlertError
	}{
		"legacy version":      {func(m *message.ServerHello) { m.Version = 0x0304 }, alertProtocolVersion},
		"version":             {func(m *message.ServerHello) { m.SupportedVersion = 0x0305 }, alertIllegalParameter},
		"session id":          {func(m *message.ServerHello) { m.SessionID = []byte{1} }, alertIllegalParameter},
		"compression":         {func(m *message.ServerHello) { m.Compression = 1 }, alertIllegalParameter},
		"suite not offered":   {func(m *message.ServerHello) { m.Suite = 0x1302 }, alertIllegalParameter},
		"suite of TLS 1.2":    {func(m *message.ServerHello) { m.Suite = 0xCCAC }, alertIllegalParameter},
		"no PSK":              {func(m *message.ServerHello) { m.SelectedPSK = false }, alertMissingExtension},
		"another PSK":         {func(m *message.ServerHello) { m.Identity = 1 }, alertIllegalParameter},
		"no key share":        {func(m *message.ServerHello) { m.KeyShare = message.KeyShare{} }, alertMissingExtension},
		"share without asked": {func(m *message.ServerHello) { m.KeyShare.Group = 23 }, alertIllegalParameter},
		"share of low order":  {func(m *message.ServerHello) { m.KeyShare.Key = make([]byte, 32) }, alertIllegalParameter},
		"short share":         {func(m *message.ServerHello) { m.KeyShare.Key = []byte{9} }, alertIllegalParameter},
		"ALPN outside":        {func(m *message.ServerHello) { m.Protocol = "mqtt" }, alertIllegalParameter},
		"master secret":       {func(m *message.ServerHello) { m.ExtendedMasterSecret = true }, alertIllegalParameter},
		"cookie":              {func(m *message.ServerHello) { m.Cookie = []byte{1} }, alertIllegalParameter},
		"TLS 1.2, no master secret": {func(m *message.ServerHello) { *m = *goodHello12(); m.ExtendedMasterSecret = false },
			alertHandshakeFailure},
		"TLS 1.2, renegotiation": {func(m *message.ServerHello) { *m = *goodHello12(); m.SecureRenegotiation = false },
			alertHandshakeFailure},
		"TLS 1.2, downgrade": {func(m *message.ServerHello) { *m = *goodHello12(); copy(m.Random[24:], downgradeTo12) },
			alertIllegalParameter},
		"TLS 1.2, downgrade below": {func(m *message.ServerHello) { *m = *goodHello12(); copy(m.Random[24:], downgradeTo11) },
			alertIllegalParameter},
		"TLS 1.2, suite":       {func(m *message.ServerHello) { *m = *goodHello12(); m.Suite = 0x1301 }, alertIllegalParameter},
		"TLS 1.2, protocol":    {func(m *message.ServerHello) { *m = *goodHello12(); m.Protocol = "h2" }, alertIllegalParameter},
		"TLS 1.2, key share":   {func(m *message.ServerHello) { *m = *goodHello12(); m.KeyShare = share1() }, alertIllegalParameter},
		"TLS 1.1":              {func(m *message.ServerHello) { *m = *goodHello12(); m.Version = 0x0302 }, alertProtocolVersion},
		"retry, nothing new":   {func(m *message.ServerHello) { m.SetRetry(); m.KeyShare, m.SelectedPSK = message.KeyShare{}, false }, alertIllegalParameter},
		"retry, same group":    {func(m *message.ServerHello) { retryFor(m, 29) }, alertIllegalParameter},
		"retry, unknown group": {func(m *message.ServerHello) { retryFor(m, 24) }, alertIllegalParameter},
		"retry, no version":    {func(m *message.ServerHello) { retryFor(m, 23); m.SupportedVersion = 0 }, alertMissingExtension},
		"retry, PSK":           {func(m *message.ServerHello) { retryFor(m, 23); m.SelectedPSK = true }, alertIllegalParameter},
		"retry, suite":         {func(m *message.ServerHello) { retryFor(m, 23); m.Suite = 0x1302 }, alertIllegalParameter},
	} {
		t.Run(name, func(t *testing.T) {
			h, result := puppetServer(t, clientConfig(), serverConfig())
			m := goodHello(t, h)
			tt.edit(m)
			raw, err := m.Encode()
			require.NoError(t, err)
			h.send(t, raw)
			require.Equal(t, tt.want.Name(), alertIn(t, h.conn).Name())
			requireFault(t, tt.want, result())
		})
	}
}

// TestClientRefusesVersionBelowItsOwn: a server that has the key brings no client down that demands TLS 1.3.
func TestClientRefusesVersionBelowItsOwn(t *testing.T) {
	cc := clientConfig()
	cc.MinVersion = TLS13
	h, result := puppetServer(t, cc, serverConfig())
	raw, err := goodHello12().Encode()
	require.NoError(t, err)
	h.send(t, raw)
	require.Equal(t, alertProtocolVersion, alertIn(t, h.conn))
	requireFault(t, alertProtocolVersion, result())
}

func share1() message.KeyShare { return message.KeyShare{Group: 29, Key: bytes.Repeat([]byte{9}, 32)} }

func retryFor(m *message.ServerHello, group uint16) {
	m.SetRetry()
	m.KeyShare, m.SelectedPSK, m.RetryGroup = message.KeyShare{}, false, group
}

// TestClientRefusesAfterRetry covers the ServerHello behind a HelloRetryRequest.
func TestClientRefusesAfterRetry(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(h *serverHandshake, m *message.ServerHello)
		want AlertError
	}{
		"second retry":  {func(_ *serverHandshake, m *message.ServerHello) { retryFor(m, 29) }, alertUnexpectedMessage},
		"another suite": {func(_ *serverHandshake, m *message.ServerHello) { m.Suite = 0x1303 }, alertIllegalParameter},
		"old group":     {func(_ *serverHandshake, m *message.ServerHello) { m.KeyShare = share1() }, alertIllegalParameter},
		"TLS 1.2":       {func(_ *serverHandshake, m *message.ServerHello) { *m = *goodHello12() }, alertIllegalParameter},
	} {
		t.Run(name, func(t *testing.T) {
			h, result := puppetServer(t, clientConfig(), serverConfig())
			raw, err := goodRetry(h).Encode()
			require.NoError(t, err)
			h.send(t, raw)
			require.NoError(t, h.readHello())
			require.Len(t, h.hello.KeyShares, 1)
			require.EqualValues(t, P256, h.hello.KeyShares[0].Group)
			m := goodHello(t, h)
			private, err := P256.curve().GenerateKey(rand.Reader)
			require.NoError(t, err)
			m.KeyShare = share(P256, private) // else it would be refused for that
			tt.edit(h, m)
			raw, err = m.Encode()
			require.NoError(t, err)
			h.send(t, raw)
			require.Equal(t, tt.want.Name(), alertIn(t, h.conn).Name())
			requireFault(t, tt.want, result())
		})
	}
}

// TestCookieComesBack: a client echoes the cookie of a HelloRetryRequest (RFC 8446 section 4.2.2), also one that
// changes no group.
func TestCookieComesBack(t *testing.T) {
	h, _ := puppetServer(t, clientConfig(), serverConfig())
	before := h.hello
	m := goodRetry(h)
	m.RetryGroup, m.Cookie = 0, []byte("remember me")
	raw, err := m.Encode()
	require.NoError(t, err)
	h.send(t, raw)
	require.NoError(t, h.readHello())
	require.Equal(t, "remember me", string(h.hello.Cookie))
	require.Equal(t, before.KeyShares, h.hello.KeyShares)
	require.True(t, sameHello(before, h.hello))
}

// encryptedServer goes as far as the keys of the handshake, so that what follows can be anything.
func encryptedServer(t testing.TB) (h *serverHandshake, secret []byte, result func() error) {
	h, result = puppetServer(t, clientConfig(), serverConfig())
	m := goodHello(t, h)
	raw, err := m.Encode()
	require.NoError(t, err)
	h.transcript.Write(h.raw)
	h.transcript.Write(raw)
	h.send(t, raw)
	shared, err := agree(h.private, keyFor(h.hello, X25519))
	require.NoError(t, err)
	h.secrets = schedule.Early(deviceKey)
	h.secrets.Handshake(shared)
	transcript := h.transcript.Sum(nil)
	secret = h.secrets.Derive(schedule.ServerHandshake, transcript)
	require.NoError(t, h.writeNext13(h.suite, secret))
	require.NoError(t, h.readNext13(h.suite, h.secrets.Derive(schedule.ClientHandshake, transcript)))
	h.in.version = TLS13
	return h, secret, result
}

// rawExtensions is an EncryptedExtensions with anything in it.
func rawExtensions(t testing.TB, list ...message.Extension) []byte {
	b := cryptobyte.NewBuilder([]byte{byte(message.TypeEncryptedExtensions)})
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, e := range list {
				b.AddUint16(e.Type)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.Data) })
			}
		})
	})
	raw, err := b.Bytes()
	require.NoError(t, err)
	return raw
}

// TestClientRefusesEncrypted covers what comes behind ServerHello in TLS 1.3.
func TestClientRefusesEncrypted(t *testing.T) {
	good := rawExtensions(t)
	wrong := message.EncodeFinished(make([]byte, 32))
	for name, tt := range map[string]struct {
		messages [][]byte
		want     AlertError
	}{
		"no EncryptedExtensions":    {[][]byte{wrong}, alertUnexpectedMessage},
		"extensions twice":          {[][]byte{good, good}, alertUnexpectedMessage},
		"CertificateRequest":        {[][]byte{good, {13, 0, 0, 3, 0, 0, 0}}, alertUnexpectedMessage},
		"Certificate":               {[][]byte{good, {11, 0, 0, 4, 0, 0, 0, 0}}, alertUnexpectedMessage},
		"KeyUpdate":                 {[][]byte{good, message.EncodeKeyUpdate(false)}, alertUnexpectedMessage},
		"NewSessionTicket":          {[][]byte{good, {4, 0, 0, 1, 0}}, alertUnexpectedMessage},
		"wrong Finished":            {[][]byte{good, wrong}, alertDecryptError},
		"short Finished":            {[][]byte{good, message.EncodeFinished(make([]byte, 12))}, alertDecodeError},
		"EncryptedExtensions empty": {[][]byte{{8, 0, 0, 0}}, alertDecodeError},
		"not asked for":             {[][]byte{rawExtensions(t, message.Extension{Type: 0x1234})}, alertUnsupportedExtension},
		"server name not sent":      {[][]byte{rawExtensions(t, message.Extension{Type: message.ExtServerName})}, alertUnsupportedExtension},
		"early data":                {[][]byte{rawExtensions(t, message.Extension{Type: message.ExtEarlyData})}, alertUnsupportedExtension},
		"for ServerHello":           {[][]byte{rawExtensions(t, message.Extension{Type: message.ExtPreSharedKey, Data: []byte{0, 0}})}, alertIllegalParameter},
		"protocol not offered":      {[][]byte{rawExtensions(t, message.Extension{Type: message.ExtALPN, Data: []byte{0, 3, 2, 'h', '2'}})}, alertIllegalParameter},
		"two protocols":             {[][]byte{rawExtensions(t, message.Extension{Type: message.ExtALPN, Data: []byte{0, 10, 4, 'm', 'q', 't', 't', 4, 'm', 'q', 't', 't'}})}, alertDecodeError},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, result := encryptedServer(t)
			h.send(t, tt.messages...)
			_, err := h.readMessage()
			require.Equal(t, tt.want, err)
			requireFault(t, tt.want, result())
		})
	}

	t.Run("more behind Finished", func(t *testing.T) { // a message under the keys of the handshake, which end there
		h, secret, result := encryptedServer(t)
		h.transcript.Write(good)
		finished := message.EncodeFinished(schedule.Finished(secret, h.transcript.Sum(nil)))
		h.send(t, good, finished, message.EncodeKeyUpdate(false))
		_, err := h.readMessage()
		require.Equal(t, alertUnexpectedMessage, err)
		requireFault(t, alertUnexpectedMessage, result())
	})
	t.Run("data before Finished", func(t *testing.T) {
		h, _, result := encryptedServer(t)
		inject(t, h.Conn, record.Data, []byte("early"))
		_, err := h.readMessage()
		require.Equal(t, alertUnexpectedMessage, err)
		requireFault(t, alertUnexpectedMessage, result())
	})
	t.Run("message inside a message", func(t *testing.T) {
		h, _, result := encryptedServer(t)
		inject(t, h.Conn, record.Handshake, good[:3])
		require.NoError(t, h.sendCCS())
		require.NoError(t, h.endFlight())
		_, err := h.readMessage()
		require.Equal(t, alertUnexpectedMessage, err)
		requireFault(t, alertUnexpectedMessage, result())
	})
	t.Run("protected change_cipher_spec", func(t *testing.T) {
		h, _, result := encryptedServer(t)
		inject(t, h.Conn, record.ChangeCipherSpec, []byte{1})
		_, err := h.readMessage()
		require.Equal(t, alertUnexpectedMessage, err)
		requireFault(t, alertUnexpectedMessage, result())
	})
	t.Run("change_cipher_spec with another value", func(t *testing.T) {
		h, _, result := encryptedServer(t)
		_, err := h.conn.Write([]byte{20, 3, 3, 0, 1, 2})
		require.NoError(t, err)
		_, err = h.readMessage()
		require.Equal(t, alertUnexpectedMessage, err)
		requireFault(t, alertUnexpectedMessage, result())
	})
}

// TestClientRefusesKeyExchange12 covers what comes behind ServerHello in TLS 1.2.
func TestClientRefusesKeyExchange12(t *testing.T) {
	exchange := func(k message.KeyShare) []byte {
		raw, err := (&message.ServerKeyExchange{Share: k}).Encode()
		require.NoError(t, err)
		return raw
	}
	good := exchange(share1())
	for name, tt := range map[string]struct {
		messages [][]byte
		want     AlertError
	}{
		"Certificate":        {[][]byte{{11, 0, 0, 3, 0, 0, 0}}, alertUnexpectedMessage},
		"no exchange":        {[][]byte{message.EncodeServerHelloDone()}, alertUnexpectedMessage},
		"exchange twice":     {[][]byte{good, good}, alertUnexpectedMessage},
		"CertificateRequest": {[][]byte{good, {13, 0, 0, 0}}, alertUnexpectedMessage},
		"group":              {[][]byte{exchange(message.KeyShare{Group: 24, Key: []byte{4}})}, alertIllegalParameter},
		"point of low order": {[][]byte{exchange(message.KeyShare{Group: 29, Key: make([]byte, 32)}), message.EncodeServerHelloDone()}, alertIllegalParameter},
		"short point":        {[][]byte{exchange(message.KeyShare{Group: 23, Key: []byte{4, 1}}), message.EncodeServerHelloDone()}, alertIllegalParameter},
		"explicit curve":     {[][]byte{{12, 0, 0, 4, 0, 0, 1, 0}}, alertIllegalParameter},
		"done with more":     {[][]byte{good, {14, 0, 0, 1, 0}}, alertDecodeError},
	} {
		t.Run(name, func(t *testing.T) {
			h, result := puppetServer(t, clientConfig(), serverConfig())
			raw, err := goodHello12().Encode()
			require.NoError(t, err)
			h.send(t, append([][]byte{raw}, tt.messages...)...)
			require.Equal(t, tt.want.Name(), alertIn(t, h.conn).Name())
			requireFault(t, tt.want, result())
		})
	}
	t.Run("change_cipher_spec before ServerHello", func(t *testing.T) {
		h, result := puppetServer(t, clientConfig(), serverConfig())
		require.NoError(t, h.sendCCS())
		raw, err := goodHello12().Encode()
		require.NoError(t, err)
		h.send(t, raw)
		require.Equal(t, alertUnexpectedMessage, alertIn(t, h.conn))
		requireFault(t, alertUnexpectedMessage, result())
	})
	t.Run("early change_cipher_spec", func(t *testing.T) { // CVE-2014-0224: keys before there is a secret
		h, result := puppetServer(t, clientConfig(), serverConfig())
		raw, err := goodHello12().Encode()
		require.NoError(t, err)
		require.NoError(t, h.sendMessages(raw))
		require.NoError(t, h.sendCCS())
		require.NoError(t, h.endFlight())
		require.Equal(t, alertUnexpectedMessage, alertIn(t, h.conn))
		requireFault(t, alertUnexpectedMessage, result())
	})
}

// TestFinished12: who has the key, and says something else in place of the Finished of TLS 1.2, has not shown that both
// saw the same handshake.
func TestFinished12(t *testing.T) {
	for name, tt := range map[string]struct {
		message []byte
		want    AlertError
	}{
		"wrong":           {message.EncodeFinished(make([]byte, 12)), alertDecryptError},
		"short":           {message.EncodeFinished(make([]byte, 11)), alertDecodeError},
		"empty":           {message.EncodeFinished(nil), alertDecodeError},
		"another message": {append([]byte{byte(message.TypeKeyUpdate), 0, 0, 12}, make([]byte, 12)...), alertUnexpectedMessage},
	} {
		t.Run(name+", by the client", func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion = TLS12
			h, result := puppetClient(t, cc, serverConfig(), func(*message.ClientHello) {})
			m, raw, err := h.readServerHello()
			require.NoError(t, err)
			require.NoError(t, h.check12(m))
			h.transcript.Write(raw)
			group, point, err := h.readKeyExchange12()
			require.NoError(t, err)
			private, err := group.curve().GenerateKey(rand.Reader)
			require.NoError(t, err)
			shared, err := agree(private, point)
			require.NoError(t, err)
			exchange, err := (&message.ClientKeyExchange{Identity: []byte(cc.Identity), Key: private.PublicKey().Bytes()}).Encode()
			require.NoError(t, err)
			h.transcript.Write(exchange)
			master := schedule.Master12(shared, cc.Key, h.transcript.Sum(nil))
			out, _, err := ciphers12(CipherSuite(m.Suite), master, h.hello.Random[:], m.Random[:])
			require.NoError(t, err)
			require.NoError(t, h.sendMessages(exchange))
			require.NoError(t, h.sendCCS())
			h.out.cipher = out
			inject(t, h.Conn, record.Handshake, tt.message)
			requireFault(t, tt.want, result())
		})
		t.Run(name+", by the server", func(t *testing.T) {
			cc := clientConfig()
			cc.MaxVersion = TLS12
			h, result := puppetServer(t, cc, serverConfig())
			require.NoError(t, h.check12())
			random, err := h.answer12()
			require.NoError(t, err)
			_, shared, err := h.readKeyExchange12()
			require.NoError(t, err)
			master := schedule.Master12(shared, cc.Key, h.transcript.Sum(nil))
			in, out, err := ciphers12(h.suite, master, h.hello.Random[:], random)
			require.NoError(t, err)
			h.in.pending, h.in.ccs = in, ccsExpected
			require.NoError(t, h.readFinished12(master, schedule.ClientFinished, h.transcript))
			require.NoError(t, h.sendCCS())
			h.out.cipher = out
			inject(t, h.Conn, record.Handshake, tt.message)
			requireFault(t, tt.want, result())
		})
	}
}

// TestClientRefusesItsOwnHello reflects what a client sends, byte for byte.
func TestClientRefusesItsOwnHello(t *testing.T) {
	for _, version := range []Version{TLS12, TLS13} {
		cc := clientConfig()
		cc.MaxVersion = version
		a, b := tcpPair(t)
		result := handshaking(t, Client(a, cc))
		buf := make([]byte, 4096)
		n, err := b.Read(buf)
		require.NoError(t, err)
		_, err = b.Write(buf[:n])
		require.NoError(t, err)
		require.Equal(t, alertUnexpectedMessage, alertIn(t, b))
		requireFault(t, alertUnexpectedMessage, result())
	}
}

func TestClientRefusesFirst(t *testing.T) {
	for name, raw := range map[string][]byte{"Finished": message.EncodeFinished(make([]byte, 32)), "HelloRequest": {0, 0, 0, 0},
		"EncryptedExtensions": rawExtensions(t), "ServerHelloDone": message.EncodeServerHelloDone()} {
		t.Run(name, func(t *testing.T) {
			h, result := puppetServer(t, clientConfig(), serverConfig())
			h.send(t, raw)
			require.Equal(t, alertUnexpectedMessage, alertIn(t, h.conn))
			requireFault(t, alertUnexpectedMessage, result())
		})
	}
}
