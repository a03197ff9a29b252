package handshake

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
)

func TestRequestAndResponse(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	for i := range 10 {
		counter, b, err := r.client.Request([]byte{byte(i)})
		require.NoError(t, err)
		require.EqualValues(t, i+1, counter)
		op, err := r.authority.Request(b)
		require.NoError(t, err)
		require.Equal(t, []byte{byte(i)}, op.Octets)
		response, err := r.authority.Respond(op.Counter, []byte("done"))
		require.NoError(t, err)
		got, result, err := r.client.Response(response)
		require.NoError(t, err)
		require.Equal(t, counter, got)
		require.Equal(t, []byte("done"), result)
	}
}

// TestRepeatedRequestIsHarmless: a repetition is not carried out again, before and after the response.
func TestRepeatedRequestIsHarmless(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	_, first, err := r.client.Request([]byte("claim"))
	require.NoError(t, err)
	op, err := r.authority.Request(first)
	require.NoError(t, err)
	early, err := r.authority.Request(first)
	require.NoError(t, err)
	require.Nil(t, early.Octets)
	require.Nil(t, early.Repeat)
	response, err := r.authority.Respond(op.Counter, []byte("done"))
	require.NoError(t, err)
	late, err := r.authority.Request(first)
	require.NoError(t, err)
	require.Nil(t, late.Octets)
	require.Equal(t, response, late.Repeat, "the same octets, for the nonce is the same")
	_, err = r.authority.Respond(op.Counter, []byte("otherwise"))
	require.ErrorIs(t, err, ErrState, "one nonce seals one response")

	for range answersKept {
		_, b, err := r.client.Request(nil)
		require.NoError(t, err)
		op, err := r.authority.Request(b)
		require.NoError(t, err)
		_, err = r.authority.Respond(op.Counter, nil)
		require.NoError(t, err)
	}
	_, err = r.authority.Request(first)
	require.ErrorIs(t, err, ErrReplay, "its response is forgotten")
}

func TestRequestsGoUpwards(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	_, one, err := r.client.Request([]byte("1"))
	require.NoError(t, err)
	_, two, err := r.client.Request([]byte("2"))
	require.NoError(t, err)
	op, err := r.authority.Request(two)
	require.NoError(t, err)
	_, err = r.authority.Request(one)
	require.ErrorIs(t, err, ErrReplay, "reordered")
	_, three, err := r.client.Request([]byte("3"))
	require.NoError(t, err)
	_, err = r.authority.Request(three)
	require.ErrorIs(t, err, ErrState, "while another has no result")
	_, err = r.authority.Respond(op.Counter, nil)
	require.NoError(t, err)
	_, err = r.authority.Request(three)
	require.NoError(t, err)
}

// TestSealedFramesOfAnotherSessionOrDirection: neither opens where it does not belong, and nothing moves.
func TestSealedFramesOfAnotherSessionOrDirection(t *testing.T) {
	f := newFixture(t)
	one, two := f.run(t, testConfig()), f.run(t, testConfig())
	_, b, err := one.client.Request([]byte("x"))
	require.NoError(t, err)
	_, err = two.authority.Request(b)
	require.ErrorIs(t, err, ErrSession)
	id := two.client.Session()
	moved := bytes.Clone(b)
	copy(moved[2:], id[:])
	_, err = two.authority.Request(moved)
	require.ErrorIs(t, err, ErrSealed)

	turned := bytes.Clone(b)
	turned[1] = byte(frame.Response)
	_, _, err = one.client.Response(turned)
	require.ErrorIs(t, err, ErrSealed)
	_, err = one.authority.Request(turned)
	require.ErrorIs(t, err, codec.ErrMalformed)

	op, err := one.authority.Request(b)
	require.NoError(t, err, "what failed moved nothing")
	response, err := one.authority.Respond(op.Counter, []byte("y"))
	require.NoError(t, err)
	_, _, err = two.client.Response(response)
	require.ErrorIs(t, err, ErrSession)
	_, _, err = one.client.Response(response)
	require.NoError(t, err)
	_, _, err = one.client.Response(response)
	require.ErrorIs(t, err, ErrReplay)
}

func TestEveryBitOfASealedFrameCounts(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	_, b, err := r.client.Request([]byte("operation"))
	require.NoError(t, err)
	for bit := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[bit/8] ^= 1 << (bit % 8)
		_, err := r.authority.Request(bad)
		require.Error(t, err, "bit %d", bit)
	}
	op, err := r.authority.Request(b)
	require.NoError(t, err)
	response, err := r.authority.Respond(op.Counter, []byte("result"))
	require.NoError(t, err)
	for bit := range 8 * len(response) {
		bad := bytes.Clone(response)
		bad[bit/8] ^= 1 << (bit % 8)
		_, _, err := r.client.Response(bad)
		require.Error(t, err, "bit %d", bit)
	}
}

func TestRequestsWithoutResponseAreBounded(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	var last uint64
	for range maxOpen {
		var err error
		last, _, err = r.client.Request(nil)
		require.NoError(t, err)
	}
	_, _, err := r.client.Request(nil)
	require.ErrorIs(t, err, ErrTooMany)
	r.client.Forget(last)
	next, _, err := r.client.Request(nil)
	require.NoError(t, err)
	require.Equal(t, last+1, next, "a counter is never used twice")
}

func TestOneWelcome(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	again, err := r.authority.Welcome(Welcome{ReturnCode: 5})
	require.NoError(t, err)
	require.Equal(t, r.welcome, again, "one nonce seals one welcome")
}

func TestOperationsTooLargeForAFrame(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	_, _, err := r.client.Request(make([]byte, frame.MaxSealed))
	require.ErrorIs(t, err, codec.ErrMalformed)
	_, b, err := r.client.Request(make([]byte, frame.MaxSealed-16))
	require.NoError(t, err)
	require.Len(t, b, frame.MaxSize)
}
