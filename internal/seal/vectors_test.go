package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors.json")

const vectorFile = "testdata/vectors.json"

// octets are hex in JSON.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, o), nil }

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.AppendDecode(nil, text)
	return err
}

// vector is one sealed message with every value on the way to it.
type vector struct {
	Comment    string   `json:"comment"`
	Filter     string   `json:"filter"`
	Secret     octets   `json:"secret"`
	KeyText    string   `json:"key_text"`
	Topic      string   `json:"topic"`
	Levels     []string `json:"levels"`
	Nodes      []octets `json:"nodes"`
	Leaf       octets   `json:"leaf"`
	KeyID      octets   `json:"key_id"`
	Suite      int      `json:"suite"`
	Flags      int      `json:"flags"`
	Session    octets   `json:"session"`
	Time       uint32   `json:"time"`
	Sequence   uint32   `json:"sequence"`
	Header     octets   `json:"header"`
	DerivedKey octets   `json:"derived_key"`
	Nonce      octets   `json:"nonce"`
	AD         octets   `json:"associated_data"`
	SignerSeed octets   `json:"signer_seed,omitempty"`
	PublicKey  octets   `json:"public_key,omitempty"`
	Hint       octets   `json:"hint,omitempty"`
	Signed     octets   `json:"signed,omitempty"`
	Signature  octets   `json:"signature,omitempty"`
	Properties octets   `json:"properties,omitempty"`
	Payload    octets   `json:"payload"`
	Plaintext  octets   `json:"plaintext"`
	Ciphertext octets   `json:"ciphertext"`
	Tag        octets   `json:"tag"`
	Frame      octets   `json:"frame"`
}

// refusal is a frame that must not open.
type refusal struct {
	Comment   string   `json:"comment"`
	Filter    string   `json:"filter"`
	Secret    octets   `json:"secret"`
	Publisher []octets `json:"publishers,omitempty"`
	Topic     string   `json:"topic"`
	Frame     octets   `json:"frame"`
	Error     string   `json:"error"`
}

type vectors struct {
	Sealed  []vector  `json:"sealed"`
	Refused []refusal `json:"refused"`
}

var errorNames = map[string]error{
	"not sealed": ErrNotSealed, "malformed": ErrMalformed, "unknown key": ErrUnknownKey,
	"authentication": ErrAuthentication, "no key": ErrNoKey, "topic name": ErrTopicName,
}

// fill computes what follows from the vector's inputs by the letter of the format. Of
// this package it uses only what has vectors of its own.
func (v *vector) fill(t testing.TB) {
	prefix := 0
	for _, l := range strings.Split(v.Filter, "/") {
		if l == "+" || l == "#" {
			break
		}
		prefix++
	}
	v.Levels = strings.Split(v.Topic, "/")[min(prefix, strings.Count(v.Topic, "/")+1):]
	node := []byte(v.Secret)
	v.Nodes = []octets{node}
	for _, l := range v.Levels {
		node = hmacOf(node, l)
		v.Nodes = append(v.Nodes, node)
	}
	v.Leaf = hmacOf(node, "\x00mqttsec v1 aes")
	v.KeyID = hmacOf(node, "\x00mqttsec v1 id\x01")[:4]

	h := append([]byte{0xFC, byte(v.Suite)<<4 | byte(v.Flags)}, v.KeyID...)
	h = append(h, v.Session...)
	h = binary.BigEndian.AppendUint32(h, v.Time)
	h = binary.BigEndian.AppendUint32(h, v.Sequence)
	v.Header = h
	v.AD = slices.Concat([]byte("mqttsec v1"), h, []byte(v.Topic))
	v.Nonce = append([]byte{0, 0, 0, 0}, h[18:26]...)

	rest := []byte(v.Payload)
	if v.Flags&4 != 0 {
		require.Less(t, len(v.Properties), 128)
		rest = slices.Concat([]byte{byte(len(v.Properties))}, v.Properties, v.Payload)
	}
	v.Plaintext = rest
	if v.Flags&8 != 0 {
		signer := ed25519.NewKeyFromSeed(v.SignerSeed)
		v.PublicKey = octets(signer.Public().(ed25519.PublicKey))
		sum := sha256.Sum256(v.PublicKey)
		v.Hint = sum[:4]
		v.Signed = slices.Concat([]byte("mqttsec v1 signature"), h,
			[]byte{byte(len(v.Topic) >> 8), byte(len(v.Topic))}, []byte(v.Topic), rest)
		v.Signature = ed25519.Sign(signer, v.Signed)
		v.Plaintext = slices.Concat(v.Hint, v.Signature, rest)
	}
	derived, err := xaesKey((*[32]byte)(v.Leaf), (*[12]byte)(v.Session))
	require.NoError(t, err)
	v.DerivedKey = derived[:]
	block, err := aes.NewCipher(v.DerivedKey)
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	sealed := aead.Seal(nil, v.Nonce, v.Plaintext, v.AD)
	v.Ciphertext, v.Tag = sealed[:len(sealed)-16], sealed[len(sealed)-16:]
	v.Frame = slices.Concat(v.Header, sealed)
	text, err := v.key(t).MarshalText()
	require.NoError(t, err)
	v.KeyText = string(text)
}

func (v *vector) key(t testing.TB) Key {
	k, err := key.New(v.Filter, v.Secret)
	require.NoError(t, err)
	return k
}

// opener is a Sealer that has seen nothing yet.
func (v *vector) opener(t *testing.T) *Sealer {
	cfg := Config{Keys: []Key{v.key(t)}}
	if v.PublicKey != nil {
		cfg.Publishers = []ed25519.PublicKey{ed25519.PublicKey(v.PublicKey)}
	}
	return testSealer(t, cfg)
}

func count(from byte, n int) (b []byte) {
	for i := range n {
		b = append(b, from+byte(i))
	}
	return b
}

// inputs are what the vectors are made of.
func inputs() []vector {
	base := vector{
		Filter: "site/#", Secret: count(0, 32), Topic: "site/7/temp", Suite: 1,
		Session: count(0xA0, 12), Time: 1_800_000_000, Sequence: 1, Payload: octets(`{"celsius":21.5}`),
	}
	properties := slices.Concat([]byte{0x01, 1}, []byte{0x03, 0, 10}, []byte("text/plain"), []byte{0x26, 0, 1, 'k', 0, 1, 'v'})
	var vs []vector
	add := func(comment string, edit func(*vector)) {
		v := base
		v.Comment = comment
		edit(&v)
		vs = append(vs, v)
	}
	add("a live message", func(v *vector) {})
	add("an empty payload", func(v *vector) { v.Payload = octets{} })
	add("a key for one topic: no level is walked", func(v *vector) { v.Filter, v.Topic = "site/7/temp", "site/7/temp" })
	add("the topic that # matches one level up", func(v *vector) { v.Topic = "site" })
	add("a key for all topics, empty levels", func(v *vector) { v.Filter, v.Topic = "#", "//a/" })
	add("a wildcard in the middle, a topic beyond ASCII", func(v *vector) { v.Filter, v.Topic = "+/7/#", "Straße/7/Wärme" })
	add("no clock, the highest sequence number", func(v *vector) { v.Time, v.Sequence = 0, 1<<32-1 })
	add("published with RETAIN", func(v *vector) { v.Flags = flagRetain })
	add("a Will", func(v *vector) { v.Flags = flagWill })
	add("a Will with RETAIN", func(v *vector) { v.Flags = flagWill | flagRetain })
	add("properties inside", func(v *vector) { v.Flags, v.Properties = flagProperties, properties })
	add("signed", func(v *vector) { v.Flags, v.SignerSeed = flagSigned, count(0x40, 32) })
	add("published at QoS 0", func(v *vector) { v.Flags = flagOnce })
	add("all flags, no payload", func(v *vector) {
		v.Flags, v.Properties, v.SignerSeed, v.Payload = flagOnce|15, properties, count(0x40, 32), octets{}
	})
	return vs
}

// refusals damages the first vectors in the ways that have a name.
func refusals(vs []vector) (rs []refusal) {
	v, signedV := vs[0], vs[11]
	add := func(comment, err string, frame []byte, edit func(*refusal)) {
		r := refusal{Comment: comment, Filter: v.Filter, Secret: v.Secret, Topic: v.Topic, Frame: frame, Error: err}
		if edit != nil {
			edit(&r)
		}
		rs = append(rs, r)
	}
	with := func(i int, b byte) []byte {
		f := bytes.Clone(v.Frame)
		f[i] = b
		return f
	}
	add("nothing", "not sealed", octets{}, nil)
	add("plain text", "not sealed", []byte("hello"), nil)
	add("another version", "not sealed", with(0, 0xFD), nil)
	add("suite 0", "malformed", with(1, 0x00), nil)
	add("suite 2", "malformed", with(1, 0x20), nil)
	add("suite 7", "malformed", with(1, 0x70), nil)
	add("the header alone", "malformed", v.Frame[:26], nil)
	add("a tag cut short", "malformed", v.Frame[:41], nil)
	add("too short for the signature it claims", "malformed", with(1, 0x18), nil)
	add("sequence number 0", "malformed", with(25, 0), nil)
	add("the second message of a Will's session", "malformed", func() []byte { f := with(25, 2); f[1] = 0x12; return f }(), nil)
	add("an unknown key id", "unknown key", with(2, v.Frame[2]^1), nil)
	add("flag RETAIN added", "authentication", with(1, 0x11), nil)
	add("flag Will added", "authentication", with(1, 0x12), nil)
	add("flag properties added", "authentication", with(1, 0x14), nil)
	add("flag QoS 0 added", "authentication", with(1, 0x90), nil)
	add("another session", "authentication", with(6, 0), nil)
	add("another time", "authentication", with(21, v.Frame[21]^1), nil)
	add("another sequence number", "authentication", with(25, 2), nil)
	add("the ciphertext changed", "authentication", with(26, v.Frame[26]^1), nil)
	add("the tag changed", "authentication", with(len(v.Frame)-1, v.Frame[len(v.Frame)-1]^0x80), nil)
	add("one byte cut off", "authentication", v.Frame[:len(v.Frame)-1], nil)
	add("one byte appended", "authentication", append(bytes.Clone(v.Frame), 0), nil)
	add("moved to another topic", "unknown key", v.Frame, func(r *refusal) { r.Topic = "site/8/temp" })
	add("a topic without a key", "no key", v.Frame, func(r *refusal) { r.Topic = "elsewhere" })
	add("a topic with a wildcard", "topic name", v.Frame, func(r *refusal) { r.Topic = "site/+/temp" })
	add("another secret", "unknown key", v.Frame, func(r *refusal) { r.Secret = count(1, 32) })
	add("not signed, where publishers are demanded", "authentication", v.Frame, func(r *refusal) { r.Publisher = []octets{signedV.PublicKey} })
	add("signed by somebody else", "authentication", signedV.Frame, func(r *refusal) {
		r.Publisher = []octets{octets(ed25519.NewKeyFromSeed(count(0x41, 32)).Public().(ed25519.PublicKey))}
	})
	return rs
}

func readVectors(t *testing.T) (vs vectors) {
	t.Helper()
	f, err := os.Open(vectorFile)
	require.NoError(t, err)
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&vs))
	require.NotEmpty(t, vs.Sealed)
	require.NotEmpty(t, vs.Refused)
	return vs
}

func TestVectors(t *testing.T) {
	if *update {
		vs := vectors{Sealed: inputs()}
		for i := range vs.Sealed {
			vs.Sealed[i].fill(t)
		}
		vs.Refused = refusals(vs.Sealed)
		b, err := json.MarshalIndent(vs, "", "\t")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(vectorFile, append(b, '\n'), 0o644))
	}
	for _, v := range readVectors(t).Sealed {
		t.Run(v.Comment, func(t *testing.T) {
			again := v
			again.fill(t)
			want, err := json.Marshal(v)
			require.NoError(t, err)
			got, err := json.Marshal(again)
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(got), "the file follows from its inputs")

			// Opening.
			s := v.opener(t)
			m := Message{Topic: []byte(v.Topic), Payload: bytes.Clone(v.Frame)}
			o, err := s.open(m.Payload[headerLen:headerLen], &m, &direct, s.newMemory())
			require.NoError(t, err)
			require.Equal(t, string(v.Payload), string(o.Payload))
			require.Equal(t, string(v.Properties), string(o.Properties))
			require.Equal(t, string(v.PublicKey), string(o.Publisher))
			payload, publisher, err := s.OpenSigned(v.Topic, v.Frame)
			require.NoError(t, err)
			require.Equal(t, string(v.Payload), string(payload))
			require.Equal(t, string(v.PublicKey), string(publisher))
			out, err := v.opener(t).AppendOpen([]byte("dst"), v.Topic, v.Frame)
			require.NoError(t, err)
			require.Equal(t, "dst"+string(v.Payload), string(out))

			// Sealing, under the vector's header.
			cfg := Config{Keys: []Key{v.key(t)}}
			if v.SignerSeed != nil {
				cfg.Signer = ed25519.NewKeyFromSeed(v.SignerSeed)
			}
			s = testSealer(t, cfg)
			m = Message{
				Topic: []byte(v.Topic), Retain: v.Flags&flagRetain != 0, Will: v.Flags&flagWill != 0, Once: v.Flags&flagOnce != 0,
				Properties: v.Properties, Payload: v.Payload,
			}
			require.Equal(t, len(v.Frame), s.sealedSize(&m))
			frame, same, err := s.reseal([]byte("dst"), &m, s.stamp(v.Frame))
			require.NoError(t, err)
			require.True(t, same)
			require.Equal(t, "dst"+string(v.Frame), string(frame))

			// Keys.
			var k Key
			require.NoError(t, k.UnmarshalText([]byte(v.KeyText)))
			require.True(t, k.Equal(v.key(t)))
		})
	}
}

func TestRefusalVectors(t *testing.T) {
	for _, r := range readVectors(t).Refused {
		t.Run(r.Comment, func(t *testing.T) {
			k, err := key.New(r.Filter, r.Secret)
			require.NoError(t, err)
			cfg := Config{Keys: []Key{k}}
			for _, p := range r.Publisher {
				cfg.Publishers = append(cfg.Publishers, ed25519.PublicKey(p))
			}
			want := errorNames[r.Error]
			require.NotNil(t, want, r.Error)
			_, err = testSealer(t, cfg).Open(r.Topic, r.Frame)
			require.ErrorIs(t, err, want)
		})
	}
}

// Every frame with one bit flipped is refused, and so is every piece of one. The
// receiver's state does not change: the frame itself still opens afterwards.
func TestMutations(t *testing.T) {
	for _, v := range readVectors(t).Sealed {
		t.Run(v.Comment, func(t *testing.T) {
			s := v.opener(t)
			for i := range v.Frame {
				for bit := range 8 {
					f := bytes.Clone(v.Frame)
					f[i] ^= 1 << bit
					dst := make([]byte, 3, 3+len(f))
					out, err := s.AppendOpen(dst, v.Topic, f)
					require.Error(t, err, "bit %d of byte %d", bit, i)
					require.Nil(t, out)
					if len(v.Payload) > 0 {
						require.NotContains(t, string(dst[:cap(dst)]), string(v.Payload))
					}
				}
				_, err := s.Open(v.Topic, v.Frame[:i])
				require.Error(t, err, "cut to %d bytes", i)
				_, err = s.Open(v.Topic, v.Frame[i+1:])
				require.Error(t, err, "without its first %d bytes", i+1)
			}
			for i := range v.Topic {
				_, err := s.Open(v.Topic[:i]+"x"+v.Topic[i+1:], v.Frame)
				require.Error(t, err, "on another topic")
			}
			require.Zero(t, s.own.Size())
			_, err := s.Open(v.Topic, v.Frame)
			require.NoError(t, err)
		})
	}
}
