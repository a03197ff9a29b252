package operation

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

var until = time.Unix(1_800_000_000, 0)

func samples(t testing.TB) []Operation {
	o, err := token.GenerateOwner("site/#")
	require.NoError(t, err)
	roots, err := o.Roots()
	require.NoError(t, err)
	tok, err := o.Issue(token.Terms{Kind: token.Auth1, Filter: "site/7", Expires: until})
	require.NoError(t, err)
	p := tok.Present([32]byte{1})
	return []Operation{
		{Kind: Claim, Filter: "site/#", Epoch: 1, Roots: roots, Lifetime: time.Hour},
		{Kind: Release, Filter: "site/#"},
		{Kind: Epoch, Filter: "site/#", Epoch: 2, Roots: roots},
		{Kind: Present, Tokens: []token.Presentation{p, p}},
		{Kind: Revoke, Filter: "site/#", Token: tok.ID()},
		{Kind: Ticket},
	}
}

func TestOperationsSurvive(t *testing.T) {
	for _, o := range samples(t) {
		b, err := o.Encode()
		require.NoError(t, err)
		got, err := Parse(b)
		require.NoError(t, err)
		require.Equal(t, o, got)
		for n := range len(b) {
			_, err := Parse(b[:n])
			require.ErrorIs(t, err, codec.ErrMalformed, "%d cut to %d", o.Kind, n)
		}
		_, err = Parse(append(b, 0))
		require.ErrorIs(t, err, codec.ErrMalformed)
	}
}

func TestOperationsRefused(t *testing.T) {
	many := samples(t)[3]
	for len(many.Tokens) <= MaxPresented {
		many.Tokens = append(many.Tokens, many.Tokens[0])
	}
	for _, o := range []Operation{
		{Kind: 0}, {Kind: 7}, {Kind: Release}, {Kind: Release, Filter: "a#"}, {Kind: Release, Filter: "$share/g/a"},
		{Kind: Claim, Filter: "a"}, {Kind: Claim, Filter: "a", Lifetime: (1 << 32) * time.Second}, {Kind: Present}, many,
		{Kind: Release, Filter: strings.Repeat("a", token.MaxFilter+1)},
	} {
		_, err := o.Encode()
		require.ErrorIs(t, err, codec.ErrMalformed, "%v", o.Kind)
	}
	_, err := Parse([]byte{byte(Present), 255})
	require.ErrorIs(t, err, codec.ErrMalformed)
}

func TestResultsSurvive(t *testing.T) {
	for kind, r := range map[Kind]Result{
		Claim: {Until: until}, Release: {}, Epoch: {Until: until}, Revoke: {},
		Present: {Tokens: []Verdict{{Done, until}, {Revoked, time.Unix(0, 0)}}},
		Ticket:  {Username: "mqttauth-1", Until: until},
	} {
		b, err := r.Encode(kind)
		require.NoError(t, err)
		got, err := ParseResult(b, kind, len(r.Tokens))
		require.NoError(t, err)
		require.Equal(t, r, got)
		_, err = ParseResult(append(b, 0), kind, len(r.Tokens))
		require.ErrorIs(t, err, codec.ErrMalformed)
		refused := Result{Code: Taken}
		b, err = refused.Encode(kind)
		require.NoError(t, err)
		require.Len(t, b, 1)
		got, err = ParseResult(b, kind, 1)
		require.NoError(t, err)
		require.Equal(t, Taken, got.Code)
	}
	_, err := ParseResult([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Ticket, 0)
	require.ErrorIs(t, err, codec.ErrMalformed, "no user name")
	_, err = (&Result{}).Encode(Ticket)
	require.ErrorIs(t, err, codec.ErrMalformed)
	_, err = (&Result{}).Encode(Present)
	require.ErrorIs(t, err, codec.ErrMalformed)
}

func TestCodes(t *testing.T) {
	for c := range Code(12) {
		require.NotContains(t, c.Error(), "code")
	}
	require.Contains(t, Code(200).Error(), "code 200")
	require.Equal(t, Done, CodeOf(nil))
	require.Equal(t, Taken, CodeOf(fmt.Errorf("x: %w", Taken)))
	require.Equal(t, Expired, CodeOf(token.ErrExpired))
	require.Equal(t, Superseded, CodeOf(token.ErrSuperseded))
	require.Equal(t, Invalid, CodeOf(token.ErrInvalid))
	require.Equal(t, Invalid, CodeOf(errors.New("whatever")))
}

func FuzzOperation(f *testing.F) {
	for _, o := range samples(f) {
		b, err := o.Encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Parse(b)
		if err != nil {
			return
		}
		again, err := o.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
	})
}

func FuzzResult(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1}, byte(Claim), 0)
	f.Add([]byte{0, 0, 1, 'u', 0, 0, 0, 0, 0, 0, 0, 1}, byte(Ticket), 0)
	f.Add([]byte{0, 7, 0, 0, 0, 0, 0, 0, 0, 1}, byte(Present), 1)
	f.Fuzz(func(t *testing.T, b []byte, kind byte, presented int) {
		if presented < 0 || presented > MaxPresented {
			return
		}
		if r, err := ParseResult(b, Kind(kind), presented); err == nil && (kind != byte(Present) || presented > 0) {
			again, err := r.Encode(Kind(kind))
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%x became %x (%v)", b, again, err)
			}
		}
	})
}
