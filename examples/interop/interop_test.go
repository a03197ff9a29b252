package interop

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
)

func newKey(t *testing.T, filter string) (aesmsg.Key, string) {
	t.Helper()
	key, err := aesmsg.GenerateKey(filter)
	require.NoError(t, err)
	return key, textOf(t, key)
}

func textOf(t *testing.T, key aesmsg.Key) string {
	t.Helper()
	text, err := key.MarshalText()
	require.NoError(t, err)
	return string(text)
}

func newSealer(t *testing.T, cfg aesmsg.Config) *aesmsg.Sealer {
	t.Helper()
	sealer, err := aesmsg.New(cfg)
	require.NoError(t, err)
	return sealer
}

// places are filters and topics that they match, with one level between them,
// several, none, and names that are not ASCII or empty.
var places = []struct{ filter, topic string }{
	{"site/#", "site/7/temp"},
	{"site/#", "site"},
	{"site/7/temp", "site/7/temp"},
	{"#", "site/7/temp"},
	{"+/7/#", "site/7/temp"},
	{"site/+/temp", "site/7/temp"},
	{"site/#", "site//temp/"},
	{"$SYS/#", "$SYS/broker"},
	{"haus/#", "haus/küche/溫度"},
	{"deep/#", "deep" + strings.Repeat("/level", 31)},
	{"long/#", "long/" + strings.Repeat("x", 300)},
}

var payloads = [][]byte{
	nil,
	[]byte("21.5"),
	bytes.Repeat([]byte{0xfc}, 17),
	bytes.Repeat([]byte("0123456789abcdef"), 4096),
}

func TestNodeOpensWhatGoSeals(t *testing.T) {
	n := start(t)
	for _, place := range places {
		key, text := newKey(t, place.filter)
		sealer := newSealer(t, aesmsg.Config{Keys: []aesmsg.Key{key}})
		for i, payload := range payloads {
			frame, err := sealer.Seal(place.topic, payload)
			require.NoError(t, err)
			got := n.must(t, request{Do: "open", Key: text, Topic: place.topic, Frame: frame})
			require.Equal(t, hexBytes(payload).String(), got.Payload.String())
			require.Equal(t, uint32(i+1), got.Seq)
		}
	}
}

func TestGoOpensWhatNodeSeals(t *testing.T) {
	n := start(t)
	for _, place := range places {
		key, text := newKey(t, place.filter)
		sealer := newSealer(t, aesmsg.Config{Keys: []aesmsg.Key{key}, MaxAge: time.Hour})
		for i, payload := range payloads {
			sealed := n.must(t, request{
				Do: "seal", Key: text, Topic: place.topic, Payload: payload,
				Session: []byte("node-session"), Time: uint32(time.Now().Unix()), Seq: uint32(i + 1),
			})
			got, err := sealer.Open(place.topic, sealed.Frame)
			require.NoError(t, err)
			require.Equal(t, hexBytes(payload).String(), hexBytes(got).String())

			_, err = sealer.Open(place.topic, sealed.Frame)
			require.ErrorIs(t, err, aesmsg.ErrReplay)
		}
	}
}

func TestSubKeysAgree(t *testing.T) {
	n := start(t)
	for _, branch := range []string{"site/7/#", "site/7", "site/7/temp", "site//#", "site/7/+/x"} {
		key, text := newKey(t, "site/#")
		ours, err := key.Sub(branch)
		require.NoError(t, err)
		theirs := n.must(t, request{Do: "sub", Key: text, Filter: branch})
		require.Equal(t, textOf(t, ours), theirs.Key)
	}
	for _, branch := range []string{"site/+", "site/#", "#", "home/7/#", "sit/7"} {
		key, text := newKey(t, "site/#")
		_, err := key.Sub(branch)
		require.ErrorIs(t, err, aesmsg.ErrInvalidKey)
		require.NotEmpty(t, n.ask(t, request{Do: "sub", Key: text, Filter: branch}).Error)
	}
}

func TestSignaturesAgree(t *testing.T) {
	n := start(t)
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	stranger, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, text := newKey(t, "site/#")
	const topic = "site/7/valve"

	signing := newSealer(t, aesmsg.Config{Keys: []aesmsg.Key{key}, Signer: private})
	frame, err := signing.Seal(topic, []byte("shut"))
	require.NoError(t, err)
	opened := n.must(t, request{Do: "open", Key: text, Topic: topic, Frame: frame, Publishers: []hexBytes{hexBytes(stranger), hexBytes(public)}})
	require.Equal(t, "shut", string(opened.Payload))
	require.Equal(t, hexBytes(public), opened.Signer)
	require.NotEmpty(t, n.ask(t, request{Do: "open", Key: text, Topic: topic, Frame: frame, Publishers: []hexBytes{hexBytes(stranger)}}).Error)

	checking := newSealer(t, aesmsg.Config{Keys: []aesmsg.Key{key}, Publishers: []ed25519.PublicKey{stranger, public}})
	r := request{
		Do: "seal", Key: text, Topic: topic, Payload: []byte("open"),
		Session: []byte("node-session"), Time: uint32(time.Now().Unix()), Seq: 1, Signer: hexBytes(private),
	}
	payload, who, err := checking.OpenSigned(topic, n.must(t, r).Frame)
	require.NoError(t, err)
	require.Equal(t, "open", string(payload))
	require.True(t, public.Equal(who))

	r.Signer, r.Seq = nil, 2
	_, err = checking.Open(topic, n.must(t, r).Frame)
	require.ErrorIs(t, err, aesmsg.ErrAuthentication, "not signed")
}

// TestNodeRefuses changes each byte of a frame in turn.
func TestNodeRefuses(t *testing.T) {
	n := start(t)
	key, text := newKey(t, "site/#")
	frame, err := newSealer(t, aesmsg.Config{Keys: []aesmsg.Key{key}}).Seal("site/7/temp", []byte("21.5"))
	require.NoError(t, err)
	for i := range frame {
		forged := bytes.Clone(frame)
		forged[i] ^= 0x10
		require.NotEmpty(t, n.ask(t, request{Do: "open", Key: text, Topic: "site/7/temp", Frame: forged}).Error, "byte %d", i)
		require.NotEmpty(t, n.ask(t, request{Do: "open", Key: text, Topic: "site/7/temp", Frame: frame[:i]}).Error, "cut at %d", i)
	}
	require.Equal(t, "unknown key", n.ask(t, request{Do: "open", Key: text, Topic: "site/8/temp", Frame: frame}).Error)
	require.Equal(t, "no key", n.ask(t, request{Do: "open", Key: text, Topic: "home/7", Frame: frame}).Error)

	mistyped := []byte(text)
	mistyped[len(mistyped)/2] ^= 1
	require.Equal(t, "not a key", n.ask(t, request{Do: "open", Key: string(mistyped), Topic: "site/7/temp", Frame: frame}).Error)
}

func (b hexBytes) String() string { return fmt.Sprintf("%x", []byte(b)) }
