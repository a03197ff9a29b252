package token

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// vector is a token with every intermediate value.
type vector struct {
	T, Claim               string
	P, S                   string // the roots
	Kind                   Kind
	Filter, Serial         string
	Until                  int64
	Once                   bool
	Node, Secret, ID, Text string
	PayloadKey             string // K at the filter
	Binding, Presentation  string
}

func loadVectors(t testing.TB) (vectors []vector) {
	t.Helper()
	file, err := os.ReadFile("testdata/tokens.json")
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&vectors))
	require.Len(t, vectors, 4)
	return vectors
}

// compute fills in what follows from T, Claim, Kind, Filter, Serial, Until, Once and Binding.
func (v vector) compute(t testing.TB) vector {
	t.Helper()
	decode := func(s string) []byte {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		return b
	}
	k, err := key.New(v.Claim, decode(v.T))
	require.NoError(t, err)
	o, err := newOwner(k, 1)
	require.NoError(t, err)
	r := roots(t, o)
	v.P, v.S = hex.EncodeToString(r.Publish[:]), hex.EncodeToString(r.Subscribe[:])

	b, err := o.branch(v.Filter)
	require.NoError(t, err)
	tree, err := treeOf(v.Kind)
	require.NoError(t, err)
	n, err := node(b.trees[tree], v.Filter)
	require.NoError(t, err)
	v.Node = hex.EncodeToString(n[:])
	made := terms{until: v.Until, once: v.Once, serial: [8]byte(decode(v.Serial)), filter: v.Filter}
	tok := newToken(v.Kind, made, 1, v.Claim, n.Leaf(made.label()), b.trees[payload])
	secret, id := tok.secret(), tok.ID()
	v.Secret, v.ID = hex.EncodeToString(secret[:]), hex.EncodeToString(id[:])
	pk, err := node(tok.Key(), v.Filter)
	require.NoError(t, err)
	v.PayloadKey = hex.EncodeToString(pk[:])
	text, err := tok.MarshalText()
	require.NoError(t, err)
	v.Text = string(text)
	p := tok.Present([32]byte(decode(v.Binding)))
	v.Presentation = hex.EncodeToString(p.Append(nil))
	return v
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		t.Run(v.Filter, func(t *testing.T) {
			require.Equal(t, v, v.compute(t))
		})
	}
}

// TestVectorMutations: every bit of a presentation counts.
func TestVectorMutations(t *testing.T) {
	for _, v := range loadVectors(t) {
		k, err := hex.DecodeString(v.T)
		require.NoError(t, err)
		whole, err := key.New(v.Claim, k)
		require.NoError(t, err)
		o, err := newOwner(whole, 1)
		require.NoError(t, err)
		b, err := hex.DecodeString(v.Presentation)
		require.NoError(t, err)
		bound, err := hex.DecodeString(v.Binding)
		require.NoError(t, err)
		verify := func(b []byte) error {
			r := codec.NewReader(b)
			p := ReadPresentation(r)
			if err := r.End(); err != nil {
				return err
			}
			_, err := roots(t, o).Verify(1, &p, [32]byte(bound), now)
			return err
		}
		require.NoError(t, verify(b))
		for bit := range 8 * len(b) {
			bad := bytes.Clone(b)
			bad[bit/8] ^= 1 << (bit % 8)
			if bit >= 8*3 && bit < 8*(3+len(v.Claim)) {
				continue // the claim, by which the caller finds the roots
			}
			require.Error(t, verify(bad), "bit %d", bit)
		}
	}
}

func FuzzTokenText(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add(v.Text)
	}
	text, err := testOwner(f, "site/#", 1).MarshalText()
	require.NoError(f, err)
	f.Add(string(text))
	f.Fuzz(func(t *testing.T, text string) {
		var tok Token
		if tok.UnmarshalText([]byte(text)) == nil {
			again, err := tok.MarshalText()
			if err != nil || tok.UnmarshalText(again) != nil {
				t.Fatalf("%q", text)
			}
		}
		var o Owner
		if o.UnmarshalText([]byte(text)) == nil {
			again, err := o.MarshalText()
			if err != nil || o.UnmarshalText(again) != nil {
				t.Fatalf("%q", text)
			}
		}
	})
}

func FuzzTokenBinary(f *testing.F) {
	o := testOwner(f, "site/#", 1)
	b, err := issue(f, o, Auth1, "site/7").MarshalBinary()
	require.NoError(f, err)
	f.Add(b)
	b, err = o.MarshalBinary()
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var tok Token
		if tok.UnmarshalBinary(b) == nil {
			if again, err := tok.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		var o Owner
		if o.UnmarshalBinary(b) == nil {
			if again, err := o.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
	})
}
