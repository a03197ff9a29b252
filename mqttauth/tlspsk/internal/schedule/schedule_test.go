package schedule

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	require.NoError(t, err)
	return b
}

// The handshake of RFC 8448 section 4: a PSK with X25519. Its PSK comes from a ticket, so that the label of the binder
// is another than that of an external PSK; everything else is what is done here.
const (
	tracePSK       = "4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3"
	traceEarly     = "9b2188e9b2fc6d64d71dc329900e20bb41915000f678aa839cbb797cb7d8332c"
	traceBinderKey = "69fe131a3bbad5d63c64eebcc30e395b9d8107726a13d074e389dbc8a4e47256"
	traceHello     = "63224b2e4573f2d3454ca84b9d009a04f6be9e05711a8396473aefa01e924a14"
	traceBinder    = "3add4fb2d8fdf822a0ca3cf7678ef5e88dae990141c5924d57bb6fa31b9e5f9d"
	traceShared    = "f44194756ff9ec9d25180635d66ea6824c6ab3bf179977be37f723570e7ccb2e"
	traceHandshake = "005cb112fd8eb4ccc623bb88a07c64b3ede1605363fc7d0df8c7ce4ff0fb4ae6"
	traceMaster    = "e2d32d4ed66dd37897a0e80c84107503ce58bf8aad4cb55a5002d77ecb890ece"
)

func TestTraceOfRFC8448(t *testing.T) {
	s := Early(unhex(t, tracePSK))
	require.Equal(t, unhex(t, traceEarly), s.current)
	key := expandLabel(s.current, "res binder", emptyHash[:], size)
	require.Equal(t, unhex(t, traceBinderKey), key)
	require.Equal(t, unhex(t, traceBinder), Finished(key, unhex(t, traceHello)))
	require.NotEqual(t, unhex(t, traceBinder), s.Binder(unhex(t, traceHello)), "an external PSK is not one of a ticket")

	early := s.current
	s.Handshake(unhex(t, traceShared))
	require.Equal(t, unhex(t, traceHandshake), s.current)
	require.Equal(t, make([]byte, size), early, "wiped")
	handshake := s.current
	s.Master()
	require.Equal(t, unhex(t, traceMaster), s.current)
	require.Equal(t, make([]byte, size), handshake, "wiped")
	master := s.current
	s.Wipe()
	require.Equal(t, make([]byte, size), master, "wiped")

	for _, tt := range []struct{ secret, key, iv string }{
		{"fe927ae271312e8bf0275b581c54eef020450dc4ecffaa05a1a35d27518e7803", "27c6bdc0a3dcea39a47326d79bc9e4ee", "9569ecdd4d0536705e9ef725"},
		{"2faac08f851d35fea3604fcb4de82dc62c9b164a70974d0462e27f1ab278700f", "b1530806f4adfeac83f1413032bbfa82", "eb50c16be7654abf99dd06d9"},
		{"2abbf2b8e381d23dbebe1dd2a7d16a8bf484cb4950d23fb7fb7fa8547062d9a1", "3cf122f301c6358ca7989553250efd72", "ab1aec26aa78b8fc1176b9ac"},
		{"cc21f1bf8feb7dd5fa505bd9c4b468a9984d554a993dc49e6d285598fb672691", "e857c690a34c5a9129d833619684f95e", "0685d6b561aab9ef1013faf9"},
	} {
		key, iv := Traffic(unhex(t, tt.secret), 16)
		require.Equal(t, unhex(t, tt.key), key)
		require.Equal(t, unhex(t, tt.iv), iv)
	}
}

// TestInputsMatter changes each bit of what the secrets are derived from.
func TestInputsMatter(t *testing.T) {
	psk, shared, transcript := unhex(t, tracePSK), unhex(t, traceShared), unhex(t, traceHello)
	derive := func() string {
		s := Early(psk)
		binder := s.Binder(transcript)
		s.Handshake(shared)
		client, server := s.Derive(ClientHandshake, transcript), s.Derive(ServerHandshake, transcript)
		s.Master()
		all := [][]byte{binder, client, server, s.Derive(ClientTraffic, transcript), s.Derive(ServerTraffic, transcript), s.Exporter(transcript)}
		for i, a := range all {
			for _, b := range all[:i] {
				require.NotEqual(t, a, b)
			}
		}
		return string(all[5])
	}
	seen := map[string]bool{derive(): true}
	for _, input := range [][]byte{psk, shared, transcript} {
		for i := range len(input) * 8 {
			input[i/8] ^= 1 << (i % 8)
			out := derive()
			require.False(t, seen[out])
			seen[out] = true
			input[i/8] ^= 1 << (i % 8)
		}
	}
}

func TestUpdateWipes(t *testing.T) {
	secret := unhex(t, traceMaster)
	next := Update(secret)
	require.Equal(t, make([]byte, size), secret)
	require.Len(t, next, size)
	require.NotEqual(t, unhex(t, traceMaster), next)
}

// TestPRF is a vector for P_SHA256 that was published with TLS 1.2.
func TestPRF(t *testing.T) {
	want := unhex(t, "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"+
		"abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66")
	got := make([]byte, len(want))
	prf(got, unhex(t, "9bbe436ba940f017b17652849a71db35"), "test label", unhex(t, "a0ba9f936cda311827a6f796ffd5198c"))
	require.Equal(t, want, got)
}

// TestPremaster pins the form of RFC 5489 section 2: both parts with their lengths, which keeps one from being taken
// for the other.
func TestPremaster(t *testing.T) {
	shared, psk, session := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16), bytes.Repeat([]byte{3}, 32)
	want := make([]byte, 48)
	prf(want, append(append(append([]byte{0, 32}, shared...), 0, 16), psk...), "extended master secret", session)
	require.Equal(t, want, Master12(shared, psk, session))
	require.NotEqual(t, want, Master12(shared, psk, shared))
	require.NotEqual(t, Master12(shared[:31], append([]byte{1}, psk...), session), want)
}

func TestExpand12(t *testing.T) {
	master, client, server := bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32)
	block := make([]byte, 2*16+2*4)
	prf(block, master, "key expansion", server, client)
	k := Expand12(master, client, server, 16, 4)
	require.Equal(t, Keys12{block[:16], block[16:32], block[32:36], block[36:]}, k)
	k.Wipe()
	require.Equal(t, Keys12{make([]byte, 16), make([]byte, 16), make([]byte, 4), make([]byte, 4)}, k)
}

func TestExport(t *testing.T) {
	secret := unhex(t, traceMaster)
	a, err := Export(secret, "EXPORTER-a", nil, 40)
	require.NoError(t, err)
	same, err := Export(secret, "EXPORTER-a", []byte{}, 40)
	require.NoError(t, err)
	require.Equal(t, a, same, "in TLS 1.3 no context is an empty one")
	for _, other := range []struct{ label, context string }{{"EXPORTER-b", ""}, {"EXPORTER-a", "c"}} {
		b, err := Export(secret, other.label, []byte(other.context), 40)
		require.NoError(t, err)
		require.NotEqual(t, a, b)
	}
	for _, n := range []int{0, -1, 255*32 + 1} {
		_, err := Export(secret, "EXPORTER-a", nil, n)
		require.ErrorIs(t, err, ErrExport)
	}
	_, err = Export(secret, strings.Repeat("x", 250), nil, 32)
	require.ErrorIs(t, err, ErrExport)
	_, err = Export(secret, strings.Repeat("x", 249), nil, 255*32)
	require.NoError(t, err)
}

func TestExport12(t *testing.T) {
	master, client, server := bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32)
	none, err := Export12(master, "EXPORTER-a", nil, client, server, 40)
	require.NoError(t, err)
	want := make([]byte, 40)
	prf(want, master, "EXPORTER-a", client, server)
	require.Equal(t, want, none)
	empty, err := Export12(master, "EXPORTER-a", []byte{}, client, server, 40)
	require.NoError(t, err)
	prf(want, master, "EXPORTER-a", client, server, []byte{0, 0})
	require.Equal(t, want, empty, "which differs from none")
	for _, label := range reserved {
		_, err := Export12(master, label, nil, client, server, 40)
		require.ErrorIs(t, err, ErrExport, label)
	}
	for _, n := range []int{0, -1, 255*32 + 1} {
		_, err := Export12(master, "EXPORTER-a", nil, client, server, n)
		require.ErrorIs(t, err, ErrExport)
	}
	_, err = Export12(master, "EXPORTER-a", make([]byte, 1<<16), client, server, 40)
	require.ErrorIs(t, err, ErrExport)
}
