package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

var session = ID{0: 0xA0, 15: 0xAF}

// good returns a frame of each type.
func good(t testing.TB) map[Type][]byte {
	hello := HelloFrame{
		Session: session, Groups: []byte{1, 2}, ClientID: "sensor-7", User: "alice",
		Elements: [][]byte{bytes.Repeat([]byte{4}, 65), bytes.Repeat([]byte{5}, 32)},
	}
	challenge := ChallengeFrame{
		Session: session, Group: 1, Server: "broker", Stretch: make([]byte, StretchSize), Element: bytes.Repeat([]byte{6}, 65),
	}
	proof := ProofFrame{Session: session, Proof: [32]byte{1}}
	welcome := WelcomeFrame{Session: session, Proof: [32]byte{2}, Sealed: make([]byte, 36)}
	request := SealedFrame{Type: Request, Session: session, Counter: 1, Sealed: make([]byte, 17)}
	response := SealedFrame{Type: Response, Session: session, Counter: 1<<64 - 1, Sealed: make([]byte, MaxSealed)}
	must := func(b []byte, err error) []byte {
		require.NoError(t, err)
		return b
	}
	return map[Type][]byte{
		Hello: must(hello.Append(nil)), Challenge: must(challenge.Append(nil)), Proof: proof.Append(nil),
		Welcome: must(welcome.Append(nil)), Request: must(request.Append(nil)), Response: must(response.Append(nil)),
	}
}

// again parses a frame by its own parser and appends it again.
func again(typ Type, b []byte) ([]byte, error) {
	switch typ {
	case Hello:
		f, err := ParseHello(b)
		if err != nil {
			return nil, err
		}
		return f.Append(nil)
	case Challenge:
		f, err := ParseChallenge(b)
		if err != nil {
			return nil, err
		}
		return f.Append(nil)
	case Proof:
		f, err := ParseProof(b)
		if err != nil {
			return nil, err
		}
		return f.Append(nil), nil
	case Welcome:
		f, err := ParseWelcome(b)
		if err != nil {
			return nil, err
		}
		return f.Append(nil)
	}
	f, err := ParseSealed(b, typ)
	if err != nil {
		return nil, err
	}
	return f.Append(nil)
}

func TestEachFrameSurvivesAndIsOfOneType(t *testing.T) {
	for typ, b := range good(t) {
		require.LessOrEqual(t, len(b), MaxSize)
		f, err := Parse(b)
		require.NoError(t, err)
		require.Equal(t, typ, f.Type)
		require.Equal(t, session, f.Session)
		for other := range names {
			got, err := again(other, b)
			if other != typ {
				require.ErrorIs(t, err, codec.ErrMalformed, "%v as %v", typ, other)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, b, got)
		}
	}
}

func TestCutAndLongerFramesAreRefused(t *testing.T) {
	for typ, b := range good(t) {
		for n := range len(b) {
			_, err := again(typ, b[:n])
			require.ErrorIs(t, err, codec.ErrMalformed, "%v cut to %d", typ, n)
		}
		_, err := again(typ, append(bytes.Clone(b), 0))
		require.ErrorIs(t, err, codec.ErrMalformed, "%v with an octet more", typ)
	}
}

func TestFrameBound(t *testing.T) {
	_, err := Parse(append(Header(nil, Request, session), make([]byte, MaxSize-HeaderSize)...))
	require.NoError(t, err)
	_, err = Parse(append(Header(nil, Request, session), make([]byte, MaxSize-HeaderSize+1)...))
	require.ErrorIs(t, err, codec.ErrMalformed)
	f := SealedFrame{Type: Request, Counter: 1, Sealed: make([]byte, MaxSealed+1)}
	_, err = f.Append(nil)
	require.ErrorIs(t, err, codec.ErrMalformed)
}

func TestUnknownVersionsAndTypesAreRefused(t *testing.T) {
	b := good(t)[Proof]
	for version := range 256 {
		b[0] = byte(version)
		_, err := Parse(b)
		require.Equal(t, version == Version, err == nil, version)
	}
	b[0] = Version
	for typ := range 256 {
		b[1] = byte(typ)
		_, known := names[Type(typ)]
		_, err := Parse(b)
		require.Equal(t, known, err == nil, typ)
	}
}

func TestHelloFieldRules(t *testing.T) {
	ok := HelloFrame{Groups: []byte{1}, ClientID: "c", User: "u", Elements: [][]byte{{4}}}
	_, err := ok.Append(nil)
	require.NoError(t, err)
	for name, change := range map[string]func(*HelloFrame){
		"no group":            func(f *HelloFrame) { f.Groups, f.Elements = nil, nil },
		"group 0":             func(f *HelloFrame) { f.Groups = []byte{0} },
		"a group twice":       func(f *HelloFrame) { f.Groups, f.Elements = []byte{1, 1}, [][]byte{{4}, {4}} },
		"too many groups":     func(f *HelloFrame) { f.Groups = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}; f.Elements = make([][]byte, 9) },
		"an element too few":  func(f *HelloFrame) { f.Groups = []byte{1, 2} },
		"an empty element":    func(f *HelloFrame) { f.Elements = [][]byte{{}} },
		"a huge element":      func(f *HelloFrame) { f.Elements = [][]byte{make([]byte, 134)} },
		"no Client ID":        func(f *HelloFrame) { f.ClientID = "" },
		"a long Client ID":    func(f *HelloFrame) { f.ClientID = strings.Repeat("c", 65) },
		"a level":             func(f *HelloFrame) { f.ClientID = "a/b" },
		"a wildcard":          func(f *HelloFrame) { f.ClientID = "a+" },
		"a space":             func(f *HelloFrame) { f.ClientID = "a b" },
		"no user":             func(f *HelloFrame) { f.User = "" },
		"a long user":         func(f *HelloFrame) { f.User = strings.Repeat("u", 256) },
		"a user with U+0000":  func(f *HelloFrame) { f.User = "a\x00b" },
		"a user not in UTF-8": func(f *HelloFrame) { f.User = "\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			f := ok
			change(&f)
			_, err := f.Append(nil)
			require.ErrorIs(t, err, codec.ErrMalformed)
			raw := codec.AppendV8(Header(nil, Hello, f.Session), f.Groups) // of a peer that does not look
			raw = codec.AppendV16(codec.AppendV16(raw, f.ClientID), f.User)
			for _, x := range f.Elements {
				raw = codec.AppendV16(raw, x)
			}
			_, err = ParseHello(raw)
			require.ErrorIs(t, err, codec.ErrMalformed)
		})
	}
}

func TestChallengeFieldRules(t *testing.T) {
	for name, change := range map[string]func(*ChallengeFrame){
		"nothing":             func(*ChallengeFrame) {},
		"group 0":             func(f *ChallengeFrame) { f.Group = 0 },
		"no server":           func(f *ChallengeFrame) { f.Server = "" },
		"a long server":       func(f *ChallengeFrame) { f.Server = strings.Repeat("s", 256) },
		"a server in Latin-1": func(f *ChallengeFrame) { f.Server = "\xe9" },
		"short stretching":    func(f *ChallengeFrame) { f.Stretch = f.Stretch[1:] },
		"long stretching":     func(f *ChallengeFrame) { f.Stretch = make([]byte, StretchSize+1) },
		"no element":          func(f *ChallengeFrame) { f.Element = nil },
		"a huge element":      func(f *ChallengeFrame) { f.Element = make([]byte, 134) },
	} {
		t.Run(name, func(t *testing.T) {
			f := ChallengeFrame{Group: 1, Server: "s", Stretch: make([]byte, StretchSize), Element: []byte{4}}
			change(&f)
			_, appended := f.Append(nil)
			raw := append(Header(nil, Challenge, f.Session), f.Group)
			raw = codec.AppendV16(codec.AppendV16(codec.AppendV16(raw, f.Server), f.Stretch), f.Element)
			_, parsed := ParseChallenge(raw)
			if name == "nothing" {
				require.NoError(t, errors.Join(appended, parsed))
				return
			}
			require.ErrorIs(t, appended, codec.ErrMalformed)
			require.ErrorIs(t, parsed, codec.ErrMalformed)
		})
	}
}

// TestSealedFieldRules: what is sealed has a tag at least, and a frame's room at most, and counters begin with 1.
func TestSealedFieldRules(t *testing.T) {
	for _, n := range []int{0, 15, 16, MaxSealed - ProofSize, MaxSealed - ProofSize + 1} {
		f := WelcomeFrame{Sealed: make([]byte, n)}
		_, appended := f.Append(nil)
		raw := append(Header(nil, Welcome, f.Session), f.Proof[:]...)
		_, parsed := ParseWelcome(codec.AppendV16(raw, f.Sealed))
		fits := n >= 16 && n <= MaxSealed-ProofSize
		require.Equal(t, fits, appended == nil, n)
		require.Equal(t, fits, parsed == nil, n)
	}
	for _, c := range []struct {
		counter uint64
		n       int
		fits    bool
	}{{1, 16, true}, {0, 16, false}, {1, 15, false}, {1, 0, false}} {
		f := SealedFrame{Type: Request, Counter: c.counter, Sealed: make([]byte, c.n)}
		_, appended := f.Append(nil)
		raw := binary.BigEndian.AppendUint64(Header(nil, Request, f.Session), c.counter)
		_, parsed := ParseSealed(codec.AppendV16(raw, f.Sealed), Request)
		require.Equal(t, c.fits, appended == nil, "%+v", c)
		require.Equal(t, c.fits, parsed == nil, "%+v", c)
	}
}

// TestContextSeparates: no two hellos have one context unless groups, session and Client Identifier are the same.
func TestContextSeparates(t *testing.T) {
	base := HelloFrame{Session: session, Groups: []byte{1, 2}, ClientID: "c"}
	for _, other := range []HelloFrame{
		{Session: session, Groups: []byte{1}, ClientID: "c"},
		{Session: session, Groups: []byte{2, 1}, ClientID: "c"},
		{Session: ID{}, Groups: []byte{1, 2}, ClientID: "c"},
		{Session: session, Groups: []byte{1, 2}, ClientID: "d"},
	} {
		require.NotEqual(t, base.Context(), other.Context())
	}
}

func FuzzFrame(f *testing.F) {
	for _, b := range good(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := Parse(b)
		if err != nil {
			return
		}
		got, err := again(parsed.Type, b)
		if err == nil && !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
	})
}
