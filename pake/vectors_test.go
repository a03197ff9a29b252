package pake

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"testing/cryptotest"

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

// TestTranscripts checks whole runs with everything this package adds to the
// RFC, against transcripts that another implementation, in another language,
// computed.
func TestTranscripts(t *testing.T) {
	var file struct {
		Note    string
		Vectors []struct {
			Group    string      `json:"group"`
			User     string      `json:"user"`
			Server   string      `json:"server"`
			Context  hexadecimal `json:"context"`
			Password string      `json:"password"`
			Recipe   hexadecimal `json:"stretching"`
			Secret   hexadecimal `json:"w"`
			Wprime   hexadecimal `json:"w_prime"`
			X        hexadecimal `json:"x"`
			Y        hexadecimal `json:"y"`
			R        hexadecimal `json:"r"`
			Verifier hexadecimal `json:"verifier"`
			Msg1     hexadecimal `json:"msg1"`
			Msg2     hexadecimal `json:"msg2"`
			Msg3     hexadecimal `json:"msg3"`
			Msg4     hexadecimal `json:"msg4"`
			Key      hexadecimal `json:"key"`
		}
	}
	load(t, "transcripts.json", &file)
	require.Len(t, file.Vectors, 8)

	for i, v := range file.Vectors {
		t.Run(fmt.Sprint(i, v.Group), func(t *testing.T) {
			id := P256
			if v.Group == Ristretto255.String() {
				id = Ristretto255
			}
			g, err := id.arithmetic()
			require.NoError(t, err)
			stretching, err := parseRecipe(v.Recipe)
			require.NoError(t, err)
			prepared, err := prepare([]byte(v.Password))
			require.NoError(t, err)
			require.Equal(t, v.Secret, hexadecimal(stretching.stretch(prepared)))
			names, err := newTranscript(v.User, v.Server, v.Context, g.elementLen())
			require.NoError(t, err)
			w := stretching.exponent(&names, g, prepared)
			require.Equal(t, v.Wprime, hexadecimal(w[:]))
			verifier := &Verifier{group: g, recipe: stretching, w: g.base(&w)}
			encoded, err := verifier.MarshalBinary()
			require.NoError(t, err)
			require.Equal(t, v.Verifier, hexadecimal(encoded))

			cfg := Config{Group: id, Context: v.Context, Stretch: stretching.Stretch}
			_, client, err := Start(cfg, v.User, v.Server, []byte(v.Password))
			require.NoError(t, err)
			client.x, client.transcript = scalar(v.X), names
			X := client.transcript.add(g.base(&client.x))
			require.Equal(t, v.Msg1, hexadecimal(encodeHello(g, X)))

			_, server, err := Respond(cfg, v.User, v.Server, verifier, v.Msg1)
			require.NoError(t, err)
			server.transcript, err = newTranscript(v.User, v.Server, v.Context, g.elementLen())
			require.NoError(t, err)
			server.transcript.addReceived(X)
			r := server.transcript.challenge(g)
			require.Equal(t, v.R, hexadecimal(r[:]))
			element, err := g.decode(X)
			require.NoError(t, err)
			y := scalar(v.Y)
			y = hedge(g, &y)
			Y, err := serve(g, &server.transcript, element, verifier.w, &y)
			require.NoError(t, err)
			require.Equal(t, v.Msg2, hexadecimal(encodeStretched(kindChallenge, g, stretching, Y)))

			msg3, err := client.Reply(v.Msg2)
			require.NoError(t, err)
			require.Equal(t, v.Msg3, hexadecimal(msg3))
			msg4, key, err := server.Finish(msg3)
			require.NoError(t, err)
			require.Equal(t, v.Msg4, hexadecimal(msg4))
			require.Equal(t, v.Key, hexadecimal(key))
			key, err = client.Finish(msg4)
			require.NoError(t, err)
			require.Equal(t, v.Key, hexadecimal(key))
		})
	}
}

// TestAccumulated pins the public functions and the order in which they draw
// random numbers: a hundred runs on each group in sixteen octets.
func TestAccumulated(t *testing.T) {
	for group, want := range map[Group]string{
		P256:         "2568935b7eeeaf9286f5e2d79bd069a4",
		Ristretto255: "3c75d966707a735493d802b9a27aa6ba",
	} {
		t.Run(group.String(), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, 6628)
			sum := sha256.New()
			for i := range 100 {
				cfg := Config{Group: group, Context: []byte{byte(i)}, Stretch: Stretch{Skip: true}}
				user, password := fmt.Sprint("user ", i), []byte(fmt.Sprint("password ", i))
				v, err := NewVerifier(cfg, user, "server", password)
				require.NoError(t, err)
				text, err := v.MarshalText()
				require.NoError(t, err)
				r := run{client: cfg, server: cfg, user: user, serverName: "server", verifier: v, password: password}
				r.mustLogin(t)
				for _, octets := range [][]byte{text, r.msg1, r.msg2, r.msg3, r.msg4, r.clientKey} {
					sum.Write(octets)
				}
			}
			require.Equal(t, want, hex.EncodeToString(sum.Sum(nil)[:16]))
		})
	}
}
