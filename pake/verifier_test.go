package pake

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVerifierRoundTrips(t *testing.T) {
	for _, g := range groups {
		for _, cfg := range []Config{quick(g), {Group: g, Stretch: Stretch{Time: 3, Memory: 1024, Threads: 2}}} {
			v := enrol(t, cfg)
			octets, err := v.MarshalBinary()
			require.NoError(t, err)
			require.Len(t, octets, map[Group]int{P256: 94, Ristretto255: 61}[g])
			text, err := v.MarshalText()
			require.NoError(t, err)
			require.Regexp(t, `^augpake-(p256|ristretto255) [A-Za-z0-9+/=]+$`, string(text))

			var fromBinary, fromText, fromJSON Verifier
			require.NoError(t, fromBinary.UnmarshalBinary(octets))
			require.NoError(t, fromText.UnmarshalText(text))
			object, err := json.Marshal(*v) // as a field is, if it is no pointer
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(object, &fromJSON))
			clear(octets) // a Verifier does not hold on to its input
			for _, stored := range []*Verifier{&fromBinary, &fromText, &fromJSON} {
				again, err := stored.MarshalText()
				require.NoError(t, err)
				require.Equal(t, string(text), string(again))
				require.Equal(t, v.Group(), stored.Group())
				require.Equal(t, v.Stretch(), stored.Stretch())
				r := run{client: cfg, server: cfg, verifier: stored}
				r.mustLogin(t)
			}
		}
	}
}

func TestVerifiersOfOnePasswordDiffer(t *testing.T) {
	cfg := Config{Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
	a, err := enrol(t, cfg).MarshalBinary()
	require.NoError(t, err)
	b, err := enrol(t, cfg).MarshalBinary()
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestVerifierInAFile(t *testing.T) {
	text, err := enrol(t, quick(P256)).MarshalText()
	require.NoError(t, err)
	line := string(text)
	name, encoded, _ := strings.Cut(line, " ")
	for _, good := range []string{line, line + "\n", "  " + line + "\r\n", line + " alice", line + " Alice of Wonderland", name + "   " + encoded} {
		require.NoError(t, new(Verifier).UnmarshalText([]byte(good)), "%q", good)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(encoded, "=="))
	unusedBits := []byte(line) // of the last digit before the padding
	unusedBits[len(line)-3]++
	for _, bad := range []string{
		"", " ", name, name + " ", encoded, encoded + " " + name,
		"augpake-ristretto255 " + encoded, "ssh-ed25519 " + encoded, strings.ToUpper(name) + " " + encoded,
		line + "\n" + line, name + "\n" + encoded, line[:len(line)-1], line + "=", name + " " + encoded[:40] + "\r\n" + encoded[40:],
		name + " " + base64.RawURLEncoding.EncodeToString(raw), string(unusedBits),
	} {
		require.ErrorIs(t, new(Verifier).UnmarshalText([]byte(bad)), ErrMessage, "%q", bad)
	}
}

// TestChangedVerifiers: an octet of a stored verifier changed is refused, or is
// another verifier that the password does not fit.
func TestChangedVerifiers(t *testing.T) {
	for _, g := range groups {
		cfg := Config{Group: g, Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1},
			MaxStretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
		octets, err := enrol(t, cfg).MarshalBinary()
		require.NoError(t, err)
		for name, variant := range changed(octets) {
			var v Verifier
			if err := v.UnmarshalBinary(variant); err != nil {
				require.ErrorIs(t, err, ErrMessage, name)
				require.Nil(t, v.group, name)
				continue
			}
			r := run{client: cfg, server: cfg, verifier: &v}
			require.Error(t, r.login(), name)
			require.Nil(t, r.serverKey, name)
		}
	}
}

func TestZeroVerifier(t *testing.T) {
	_, err := Verifier{}.MarshalText()
	require.Error(t, err)
	require.Zero(t, Verifier{}.Group())
	require.Zero(t, Verifier{}.Stretch())
}

// TestStretchIsPinned: Argon2id as in RFC 9106, with the salt and costs of the
// verifier; the figure is from another implementation.
func TestStretchIsPinned(t *testing.T) {
	r := recipe{Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1}, salt: [saltLen]byte([]byte("0000000000000000"))}
	require.Equal(t, "f8f6fcbc26d69ea1285cdd52ab124e61c054ef66eec2344a592f53ccfcf239be",
		hex.EncodeToString(r.stretch([]byte("x"))))
}

// TestPasswordsArePrepared: OpaqueString composes, and maps spaces.
func TestPasswordsArePrepared(t *testing.T) {
	cfg := quick(P256)
	v, err := NewVerifier(cfg, "alice", "broker", []byte("caf\u00e9 \u2126"))
	require.NoError(t, err)
	for _, same := range []string{"cafe\u0301 \u03a9", "caf\u00e9\u3000\u2126"} {
		r := run{client: cfg, server: cfg, verifier: v, password: []byte(same)}
		require.NoError(t, r.login(), "%q", same)
	}
	r := run{client: cfg, server: cfg, verifier: v, password: []byte("Caf\u00e9 \u2126")}
	require.ErrorIs(t, r.login(), ErrProof)
}
