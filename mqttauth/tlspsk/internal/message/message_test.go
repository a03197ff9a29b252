package message

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample is a hello with everything in it.
func sample() *ClientHello {
	return &ClientHello{
		Version: VersionTLS12, Random: [32]byte{1, 2, 3}, SessionID: bytes.Repeat([]byte{9}, 32), Suites: []uint16{0x1301, 0xCCAC},
		Compressions: []byte{0}, ServerName: "broker.example.org", Groups: []uint16{29, 23}, PointFormats: []byte{0},
		ExtendedMasterSecret: true, SecureRenegotiation: true, Protocols: []string{"mqtt", "h2"}, Versions: []uint16{0x0304, 0x0303},
		Cookie: []byte("cookie"), PSKModes: []byte{1}, KeyShares: []KeyShare{{29, bytes.Repeat([]byte{5}, 32)}},
		Identities: [][]byte{[]byte("device-7")},
	}
}

func sampleServer() []*ServerHello {
	retry := &ServerHello{Version: VersionTLS12, Suite: 0x1301, SupportedVersion: 0x0304, RetryGroup: 23, Cookie: []byte{1}}
	retry.SetRetry()
	return []*ServerHello{
		{Version: VersionTLS12, Random: [32]byte{7}, SessionID: []byte{1}, Suite: 0x1301, SupportedVersion: 0x0304,
			KeyShare: KeyShare{29, bytes.Repeat([]byte{5}, 32)}, SelectedPSK: true, Identity: 3},
		{Version: VersionTLS12, Random: [32]byte{8}, Suite: 0xCCAC, ExtendedMasterSecret: true, SecureRenegotiation: true,
			PointFormats: []byte{0}, Protocol: "mqtt"},
		retry,
	}
}

func TestClientHelloThereAndBack(t *testing.T) {
	m := sample()
	raw, err := m.Encode()
	require.NoError(t, err)
	require.Equal(t, 2+1+HashLen, m.BindersLen())
	SetBinder(raw, bytes.Repeat([]byte{6}, HashLen))
	got, err := ParseClientHello(raw)
	require.NoError(t, err)
	require.Equal(t, m.BindersLen(), got.BindersLen())
	m.Binders = [][]byte{bytes.Repeat([]byte{6}, HashLen)}
	require.Equal(t, ExtPreSharedKey, got.Extensions[len(got.Extensions)-1].Type)
	got.Extensions = nil
	require.Equal(t, m, got)
}

func TestServerHelloThereAndBack(t *testing.T) {
	for _, m := range sampleServer() {
		raw, err := m.Encode()
		require.NoError(t, err)
		got, err := ParseServerHello(raw)
		require.NoError(t, err)
		got.Extensions = nil
		if len(m.SessionID) == 0 {
			got.SessionID = nil
		}
		require.Equal(t, m, got)
	}
}

func TestOthersThereAndBack(t *testing.T) {
	ske := &ServerKeyExchange{Hint: []byte("hint"), Share: KeyShare{23, []byte{4, 1, 2}}}
	raw, err := ske.Encode()
	require.NoError(t, err)
	gotSKE, err := ParseServerKeyExchange(raw)
	require.NoError(t, err)
	require.Equal(t, ske, gotSKE)

	cke := &ClientKeyExchange{Identity: []byte("device-7"), Key: []byte{4, 1, 2}}
	raw, err = cke.Encode()
	require.NoError(t, err)
	gotCKE, err := ParseClientKeyExchange(raw)
	require.NoError(t, err)
	require.Equal(t, cke, gotCKE)

	raw, err = (&EncryptedExtensions{Protocol: "mqtt"}).Encode()
	require.NoError(t, err)
	ee, err := ParseEncryptedExtensions(raw)
	require.NoError(t, err)
	require.Equal(t, "mqtt", ee.Protocol)

	verify, err := ParseFinished(EncodeFinished([]byte{1, 2, 3}), 3)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, verify)
	for _, request := range []bool{true, false} {
		got, err := ParseKeyUpdate(EncodeKeyUpdate(request))
		require.NoError(t, err)
		require.Equal(t, request, got)
	}
	require.NoError(t, ParseEmpty(EncodeServerHelloDone(), TypeServerHelloDone))
	require.Equal(t, []byte{254, 0, 0, 2, 8, 9}, Hash([]byte{8, 9}))
}

// parsers are all decoders, by the type of their message.
var parsers = map[Type]func(raw []byte) error{
	TypeClientHello:         func(raw []byte) error { _, err := ParseClientHello(raw); return err },
	TypeServerHello:         func(raw []byte) error { _, err := ParseServerHello(raw); return err },
	TypeEncryptedExtensions: func(raw []byte) error { _, err := ParseEncryptedExtensions(raw); return err },
	TypeServerKeyExchange:   func(raw []byte) error { _, err := ParseServerKeyExchange(raw); return err },
	TypeClientKeyExchange:   func(raw []byte) error { _, err := ParseClientKeyExchange(raw); return err },
	TypeFinished:            func(raw []byte) error { _, err := ParseFinished(raw, HashLen); return err },
	TypeKeyUpdate:           func(raw []byte) error { _, err := ParseKeyUpdate(raw); return err },
	TypeServerHelloDone:     func(raw []byte) error { return ParseEmpty(raw, TypeServerHelloDone) },
}

// encoded is one of each message.
func encoded(t testing.TB) [][]byte {
	hello, err := sample().Encode()
	require.NoError(t, err)
	all := [][]byte{hello, EncodeFinished(make([]byte, HashLen)), EncodeKeyUpdate(true), EncodeServerHelloDone()}
	for _, m := range sampleServer() {
		raw, err := m.Encode()
		require.NoError(t, err)
		all = append(all, raw)
	}
	ske, err := (&ServerKeyExchange{Share: KeyShare{23, []byte{4, 1, 2}}}).Encode()
	require.NoError(t, err)
	cke, err := (&ClientKeyExchange{Identity: []byte("device-7"), Key: []byte{4, 1, 2}}).Encode()
	require.NoError(t, err)
	ee, err := (&EncryptedExtensions{Protocol: "mqtt"}).Encode()
	require.NoError(t, err)
	return append(all, ske, cke, ee)
}

// TestLengthsAreExact cuts each message at every octet and adds one, with the header as it was and with one that fits.
func TestLengthsAreExact(t *testing.T) {
	for _, raw := range encoded(t) {
		parse := parsers[Type(raw[0])]
		require.NoError(t, parse(raw))
		for n := range len(raw) {
			require.Error(t, parse(raw[:n]), "%x", raw[:n])
			if n < HeaderLen {
				continue
			}
			if err := parse(fit(raw[:n])); err == nil { // a hello of TLS 1.2 may end before its extensions
				require.Contains(t, []Type{TypeClientHello, TypeServerHello}, Type(raw[0]))
				require.Equal(t, len(raw), n+2+(int(raw[n])<<8|int(raw[n+1])), "%x", raw[:n])
			}
		}
		require.Error(t, parse(append(bytes.Clone(raw), 0)))
		require.Error(t, parse(fit(append(bytes.Clone(raw), 0))))
		other := bytes.Clone(raw)
		other[0] ^= 0x40
		require.ErrorIs(t, parse(other), ErrSyntax, "of another type")
	}
}

// fit gives a message the length that it has.
func fit(raw []byte) []byte {
	raw = bytes.Clone(raw)
	n := len(raw) - HeaderLen
	raw[1], raw[2], raw[3] = byte(n>>16), byte(n>>8), byte(n)
	return raw
}

// withExtension is a ClientHello with one extension of the caller's before the others.
func withExtension(t *testing.T, m *ClientHello, typ uint16, data ...byte) []byte {
	t.Helper()
	raw, err := m.Encode()
	require.NoError(t, err)
	at := HeaderLen + 2 + RandomLen + 1 + len(m.SessionID) + 2 + 2*len(m.Suites) + 1 + len(m.Compressions)
	n := int(raw[at])<<8 | int(raw[at+1])
	ext := append([]byte{byte(typ >> 8), byte(typ), byte(len(data) >> 8), byte(len(data))}, data...)
	n += len(ext)
	out := append(bytes.Clone(raw[:at]), byte(n>>8), byte(n))
	return fit(append(append(out, ext...), raw[at+2:]...))
}

// TestClientHelloValues covers what a hello may not say whatever the negotiation.
func TestClientHelloValues(t *testing.T) {
	bare := func() *ClientHello {
		return &ClientHello{Version: VersionTLS12, Suites: []uint16{1}, Compressions: []byte{0}, PSKModes: []byte{1}}
	}
	for name, tt := range map[string]struct {
		typ  uint16
		data []byte
		want error
	}{
		"twice":                   {ExtPSKModes, []byte{1, 1}, ErrValue},
		"not last":                {ExtPreSharedKey, nil, ErrValue},
		"early data with content": {ExtEarlyData, []byte{0}, ErrSyntax},
		"no server name":          {ExtServerName, []byte{0, 0}, ErrSyntax},
		"empty server name":       {ExtServerName, []byte{0, 3, 0, 0, 0}, ErrSyntax},
		"two server names":        {ExtServerName, []byte{0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'}, ErrValue},
		"no groups":               {ExtSupportedGroups, []byte{0, 0}, ErrSyntax},
		"half a group":            {ExtSupportedGroups, []byte{0, 1, 0}, ErrSyntax},
		"no protocols":            {ExtALPN, []byte{0, 0}, ErrSyntax},
		"empty protocol":          {ExtALPN, []byte{0, 1, 0}, ErrSyntax},
		"no versions":             {ExtSupportedVersions, []byte{0}, ErrSyntax},
		"no cookie":               {ExtCookie, []byte{0, 0}, ErrSyntax},
		"points":                  {ExtPointFormats, []byte{1, 1}, ErrValue},
		"renegotiation":           {ExtRenegotiationInfo, []byte{1, 7}, ErrValue},
		"master secret":           {ExtExtendedMasterSecret, []byte{0}, ErrSyntax},
		"empty key":               {ExtKeyShare, []byte{0, 4, 0, 29, 0, 0}, ErrSyntax},
		"two keys":                {ExtKeyShare, []byte{0, 10, 0, 29, 0, 1, 1, 0, 29, 0, 1, 2}, ErrValue},
	} {
		_, err := ParseClientHello(withExtension(t, bare(), tt.typ, tt.data...))
		require.ErrorIs(t, err, tt.want, name)
	}
	_, err := ParseClientHello(withExtension(t, bare(), 0x0a0a, 1, 2, 3))
	require.NoError(t, err, "unknown extensions are none of our business")
	_, err = ParseClientHello(withExtension(t, bare(), ExtKeyShare, 0, 0))
	require.NoError(t, err, "an empty list asks for a HelloRetryRequest")

	psk := func(data ...byte) error {
		m := bare()
		m.PSKModes = nil
		_, err := ParseClientHello(withExtension(t, m, ExtPreSharedKey, data...))
		return err
	}
	binder := append([]byte{0, 33, 32}, make([]byte, 32)...)
	identity := []byte{0, 7, 0, 1, 'x', 0, 0, 0, 0}
	require.NoError(t, psk(append(bytes.Clone(identity), binder...)...))
	require.ErrorIs(t, psk(append([]byte{0, 6, 0, 0, 0, 0, 0, 0}, binder...)...), ErrSyntax, "empty identity")
	require.ErrorIs(t, psk(append(bytes.Clone(identity), 0, 32, 31)...), ErrSyntax)
	require.ErrorIs(t, psk(append(bytes.Clone(identity), append([]byte{0, 32, 31}, make([]byte, 31)...)...)...), ErrSyntax, "short binder")
	two := append([]byte{0, 66, 32}, append(make([]byte, 32), append([]byte{32}, make([]byte, 32)...)...)...)
	require.ErrorIs(t, psk(append(bytes.Clone(identity), two...)...), ErrValue, "two binders")
	many := []byte{0, 7 * (maxIdentities + 1)}
	for range maxIdentities + 1 {
		many = append(many, identity[2:]...)
	}
	require.ErrorIs(t, psk(append(many, binder...)...), ErrValue, "too many")
}

func TestServerHelloValues(t *testing.T) {
	low := &ServerHello{Version: VersionTLS12, SupportedVersion: 0x0303}
	raw, err := low.Encode()
	require.NoError(t, err)
	_, err = ParseServerHello(raw)
	require.ErrorIs(t, err, ErrValue)
}

func TestManyExtensionsAreRefused(t *testing.T) {
	m := &ClientHello{Version: VersionTLS12, Suites: []uint16{1}, Compressions: []byte{0}}
	raw, err := m.Encode()
	require.NoError(t, err)
	at := len(raw) - 2
	list := []byte{}
	for i := range maxUnknownExtensions + 1 {
		list = append(list, 0x10, byte(i), 0, 0)
	}
	raw = append(append(raw[:at], byte(len(list)>>8), byte(len(list))), list...)
	_, err = ParseClientHello(fit(raw))
	require.ErrorIs(t, err, ErrValue)
	_, err = ParseClientHello(fit(append(append(bytes.Clone(raw[:at]), 0, byte(len(list)-4)), list[4:]...)))
	require.NoError(t, err)
}

// fuzz runs one decoder and encoder: what decodes, encodes again to something that decodes to the same.
func fuzz[M any](f *testing.F, t Type, parse func([]byte) (M, error), encode func(M) ([]byte, error), same func(a, b M) bool) {
	for _, raw := range encoded(f) {
		if Type(raw[0]) == t {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw)
		if err != nil {
			return
		}
		again, err := encode(m)
		require.NoError(t, err)
		m2, err := parse(again)
		require.NoError(t, err, "%x", again)
		require.True(t, same(m, m2), "%+v\n%+v", m, m2)
	})
}

func FuzzClientHello(f *testing.F) {
	// What is not encoded: binders, unknown extensions, their order, empty extensions, and a list of key shares that is
	// empty.
	strip := func(m *ClientHello) ClientHello {
		c := *m
		c.Extensions, c.Binders, c.KeyShares = nil, nil, append([]KeyShare(nil), c.KeyShares...)
		return c
	}
	fuzz(f, TypeClientHello, ParseClientHello, (*ClientHello).Encode, func(a, b *ClientHello) bool {
		return reflect.DeepEqual(strip(a), strip(b))
	})
}

func FuzzServerHello(f *testing.F) {
	fuzz(f, TypeServerHello, ParseServerHello, (*ServerHello).Encode, func(a, b *ServerHello) bool {
		c, d := *a, *b
		c.Extensions, d.Extensions = nil, nil
		return reflect.DeepEqual(c, d)
	})
}

func FuzzEncryptedExtensions(f *testing.F) {
	fuzz(f, TypeEncryptedExtensions, ParseEncryptedExtensions, (*EncryptedExtensions).Encode,
		func(a, b *EncryptedExtensions) bool { return a.Protocol == b.Protocol })
}

func FuzzServerKeyExchange(f *testing.F) {
	fuzz(f, TypeServerKeyExchange, ParseServerKeyExchange, (*ServerKeyExchange).Encode,
		func(a, b *ServerKeyExchange) bool { return reflect.DeepEqual(a, b) })
}

func FuzzClientKeyExchange(f *testing.F) {
	fuzz(f, TypeClientKeyExchange, ParseClientKeyExchange, (*ClientKeyExchange).Encode,
		func(a, b *ClientKeyExchange) bool { return reflect.DeepEqual(a, b) })
}

func FuzzSmall(f *testing.F) {
	for _, raw := range encoded(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = ParseFinished(raw, HashLen)
		_, _ = ParseFinished(raw, 12)
		_, _ = ParseKeyUpdate(raw)
		_ = ParseEmpty(raw, TypeServerHelloDone)
		_ = ParseEmpty(raw, TypeHelloRequest)
	})
}
