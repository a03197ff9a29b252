package pake

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// hexadecimal is octets written as a JSON string.
type hexadecimal []byte

func (h *hexadecimal) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// load reads testdata/name; an unknown field fails the test, since it would be
// a promise that nothing checks.
func load(t testing.TB, name string, into any) {
	t.Helper()
	file, err := os.Open("testdata/" + name)
	require.NoError(t, err)
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into))
}

// TestRFC6628Vectors checks everything but the derivation of w': the RFC joins
// the identities without lengths, and the vectors give w' as a number.
func TestRFC6628Vectors(t *testing.T) {
	var file struct {
		Note    string
		Vectors []struct {
			User, Server string
			Wprime       hexadecimal `json:"w"`
			LittleX      hexadecimal `json:"x"`
			LittleY      hexadecimal `json:"y"`
			W            hexadecimal `json:"W"`
			X            hexadecimal `json:"X"`
			R            hexadecimal `json:"r"`
			Y            hexadecimal `json:"Y"`
			K            hexadecimal `json:"K"`
			VU           hexadecimal `json:"V_U"`
			VS           hexadecimal `json:"V_S"`
			SK           hexadecimal `json:"SK"`
		}
	}
	load(t, "rfc6628_p256.json", &file)
	require.Len(t, file.Vectors, 4)

	for _, v := range file.Vectors {
		t.Run(v.User, func(t *testing.T) {
			g := p256{}
			raw := func() *transcript {
				return &transcript{octets: append([]byte{0}, v.User+v.Server...)}
			}
			x, y, w := scalar(v.LittleX), scalar(v.LittleY), g.order().reduce(v.Wprime)
			require.Equal(t, v.W, hexadecimal(g.base(&w).appendTo(nil)))
			X, W := g.base(&x), g.base(&w)
			require.Equal(t, v.X, hexadecimal(X.appendTo(nil)))

			user, server := raw(), raw()
			user.add(X)
			server.addReceived(v.X)
			r := user.challenge(g)
			require.Equal(t, v.R, hexadecimal(r[:]))

			octets, err := serve(g, server, X, W, &y)
			require.NoError(t, err)
			require.Equal(t, v.Y, hexadecimal(octets))
			Y, err := g.decode(octets)
			require.NoError(t, err)
			require.NoError(t, join(g, user, Y, octets, &x, &w))
			require.Equal(t, user.octets[1:], server.octets[1:])
			require.Equal(t, v.K, hexadecimal(user.octets[len(user.octets)-g.elementLen():]))

			proof := user.userProof()
			require.Equal(t, v.VU, hexadecimal(proof[:]))
			known, err := server.verifyUser(proof[:])
			require.NoError(t, err)
			proof = known.serverProof()
			require.Equal(t, v.VS, hexadecimal(proof[:]))
			require.Equal(t, v.SK, hexadecimal(known.key()))
			known, err = user.verifyServer(proof[:])
			require.NoError(t, err)
			require.Equal(t, v.SK, hexadecimal(known.key()))
		})
	}
}
