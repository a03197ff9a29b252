package handshake

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"testing/cryptotest"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
)

// octets is written as hexadecimal in JSON.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, o), nil }

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

// vector is a run with all that a second implementation needs to check itself: the password's verifier, the frames,
// what is derived and one request with its response.
type vector struct {
	User, Server, ClientID, Password string

	Verifier                         octets
	Hello, Challenge, Proof, Welcome octets

	Binding        octets
	Exported       octets // label "test", context "context", 32 octets
	TicketPassword string // of "device-1"

	Operation, Request octets
	Result, Response   octets
}

// makeVector runs everything under a source of randomness that repeats itself.
func makeVector(t *testing.T) vector {
	cryptotest.SetGlobalRandom(t, 10)
	f := newFixture(t)
	r := f.run(t, testConfig())
	v := vector{
		User: testUser, Server: testServer, ClientID: testClient, Password: string(testPassword),
		Hello: r.hello, Challenge: r.challenge, Proof: r.proof, Welcome: r.welcome,
		Operation: octets("operation"), Result: octets("result"),
	}
	var err error
	v.Verifier, err = f.verifier.MarshalBinary()
	require.NoError(t, err)
	binding := r.client.Binding()
	v.Binding = binding[:]
	v.Exported, err = r.client.ExportKeyingMaterial("test", []byte("context"), 32)
	require.NoError(t, err)
	v.TicketPassword, err = r.client.TicketPassword("device-1")
	require.NoError(t, err)
	_, v.Request, err = r.client.Request(v.Operation)
	require.NoError(t, err)
	op, err := r.authority.Request(v.Request)
	require.NoError(t, err)
	v.Response, err = r.authority.Respond(op.Counter, v.Result)
	require.NoError(t, err)
	return v
}

const vectorFile = "testdata/run.json"

// TestTranscriptIsPinned: a change of anything on the wire or in the key schedule shows here. A second implementation
// of the protocol is tested with the same file.
func TestTranscriptIsPinned(t *testing.T) {
	got := makeVector(t)
	file, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	var want vector
	require.NoError(t, decoder.Decode(&want))
	require.Equal(t, want, got)
}

// TestVectorMutations: every bit of the pinned frames from the authority counts for the client that ran the rest.
func TestVectorMutations(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 10)
	newFixture(t) // takes from the same randomness as makeVector did
	var v vector
	file, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &v))
	hello, c, err := Start(testConfig())
	require.NoError(t, err)
	require.Equal(t, v.Hello, octets(hello))
	proof, err := c.Challenge(v.Challenge)
	require.NoError(t, err)
	require.Equal(t, v.Proof, octets(proof))

	// A wrong session id or no welcome at all does not end the run.
	for bit := range 8 * frame.HeaderSize {
		bad := bytes.Clone(v.Welcome)
		bad[bit/8] ^= 1 << (bit % 8)
		_, _, err := c.Welcome(bad)
		require.Error(t, err)
	}
	session, told, err := c.Welcome(v.Welcome)
	require.NoError(t, err)
	require.Equal(t, testWelcome, told)
	counter, request, err := session.Request(v.Operation)
	require.NoError(t, err)
	require.Equal(t, v.Request, octets(request))
	for bit := range 8 * len(v.Response) {
		bad := bytes.Clone(v.Response)
		bad[bit/8] ^= 1 << (bit % 8)
		_, _, err := session.Response(bad)
		require.Error(t, err)
	}
	got, result, err := session.Response(v.Response)
	require.NoError(t, err)
	require.Equal(t, counter, got)
	require.Equal(t, v.Result, octets(result))
}
