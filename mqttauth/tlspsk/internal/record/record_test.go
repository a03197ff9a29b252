package record

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// kinds are the protections that there are.
var kinds = []struct {
	name string
	aead AEAD
	make func(a AEAD, key, iv []byte) (*Cipher, error)
	iv   int
}{
	{"1.3 AES", AES128GCM, New13, 12},
	{"1.3 ChaCha20", ChaCha20Poly1305, New13, 12},
	{"1.2 AES", AES128GCM, New12, 4},
	{"1.2 ChaCha20", ChaCha20Poly1305, New12, 12},
}

// ends returns the two ends of one direction.
func ends(t testing.TB, kind int) (from, to *Cipher) {
	t.Helper()
	k := kinds[kind]
	key, iv := bytes.Repeat([]byte{7}, k.aead.KeyLen()), bytes.Repeat([]byte{9}, k.iv)
	from, err := k.make(k.aead, key, iv)
	require.NoError(t, err)
	to, err = k.make(k.aead, key, iv)
	require.NoError(t, err)
	return from, to
}

func TestThereAndBack(t *testing.T) {
	for kind, k := range kinds {
		from, to := ends(t, kind)
		for i, n := range []int{0, 1, 15, 16, 17, 1000, MaxPlaintext} {
			typ := []Type{Data, Handshake, Alert}[i%3]
			sent := bytes.Repeat([]byte{byte(i)}, n)
			raw, err := from.Append([]byte("before"), typ, sent)
			require.NoError(t, err, k.name)
			require.Equal(t, "before", string(raw[:6]))
			raw = raw[6:]
			require.LessOrEqual(t, len(raw), n+Overhead)
			require.LessOrEqual(t, len(raw)-HeaderLen, to.MaxBody())
			gotType, got, err := to.Open(raw)
			require.NoError(t, err, k.name)
			require.Equal(t, typ, gotType)
			require.True(t, bytes.Equal(sent, got))
		}
	}
}

func TestWithoutKeys(t *testing.T) {
	var none *Cipher
	raw, err := none.Append(nil, Handshake, []byte{1, 2, 3})
	require.NoError(t, err)
	require.Equal(t, []byte{22, 3, 3, 0, 3, 1, 2, 3}, raw)
	require.Equal(t, []byte{22, 3, 1, 0, 1, 9}, AppendFirst(nil, Handshake, []byte{9}))
	typ, body, err := none.Open(raw)
	require.NoError(t, err)
	require.Equal(t, Handshake, typ)
	require.Equal(t, []byte{1, 2, 3}, body)
	require.False(t, none.Modern())
	require.Zero(t, none.Blocks())
	none.Wipe()
}

// TestEveryBitCounts flips each bit of a record in turn, header included; but not its length, by which the caller cuts
// it off.
func TestEveryBitCounts(t *testing.T) {
	for kind, k := range kinds {
		for bit := range 8 * 40 {
			from, to := ends(t, kind)
			raw, err := from.Append(nil, Data, []byte("some text"))
			require.NoError(t, err)
			if bit >= 8*len(raw) {
				break
			}
			if bit/8 == 3 || bit/8 == 4 {
				continue
			}
			raw[bit/8] ^= 1 << (bit % 8)
			_, _, err = to.Open(raw)
			require.Error(t, err, "%s bit %d", k.name, bit)
		}
	}
}

// TestOrderCounts: records that are lost, repeated or out of order do not open.
func TestOrderCounts(t *testing.T) {
	for kind, k := range kinds {
		from, _ := ends(t, kind)
		var raw [3][]byte
		for i := range raw {
			var err error
			raw[i], err = from.Append(nil, Data, []byte("the same"))
			require.NoError(t, err)
		}
		require.NotEqual(t, raw[0], raw[1])
		for _, order := range [][]int{{1}, {0, 0}, {0, 2}} {
			_, to := ends(t, kind)
			for i, n := range order {
				_, _, err := to.Open(bytes.Clone(raw[n]))
				if i == len(order)-1 {
					require.ErrorIs(t, err, ErrAuthentication, k.name)
				} else {
					require.NoError(t, err)
				}
			}
		}
	}
}

func TestTruncatedRecords(t *testing.T) {
	for kind, k := range kinds {
		from, _ := ends(t, kind)
		raw, err := from.Append(nil, Data, []byte("text"))
		require.NoError(t, err)
		for n := HeaderLen; n < len(raw); n++ {
			_, to := ends(t, kind)
			cut := bytes.Clone(raw[:n])
			cut[4] = byte(n - HeaderLen)
			_, _, err := to.Open(cut)
			require.ErrorIs(t, err, ErrAuthentication, k.name)
		}
	}
}

func TestLengths(t *testing.T) {
	for kind, k := range kinds {
		from, to := ends(t, kind)
		raw, err := from.Append(nil, Data, make([]byte, MaxPlaintext+1))
		require.NoError(t, err)
		_, _, err = to.Open(raw)
		require.ErrorIs(t, err, ErrOverflow, k.name)
		_, to = ends(t, kind)
		_, _, err = to.Open(make([]byte, HeaderLen+to.MaxBody()+1))
		require.ErrorIs(t, err, ErrOverflow, k.name)
	}
}

// TestPadding is RFC 8446 section 5.4: zeros behind the type are dropped, and nothing but zeros is an error.
func TestPadding(t *testing.T) {
	for kind := range 2 {
		from, to := ends(t, kind)
		raw, err := from.Append(nil, 0, append([]byte("text"), byte(Data), 0, 0, 0))
		require.NoError(t, err)
		typ, got, err := to.Open(raw)
		require.NoError(t, err)
		require.Equal(t, Data, typ)
		require.Equal(t, "text", string(got))
		raw, err = from.Append(nil, 0, nil)
		require.NoError(t, err)
		_, _, err = to.Open(raw)
		require.ErrorIs(t, err, ErrType)
	}
}

// TestSequenceEnds: a nonce is never used twice, and nothing is encrypted once there is none left.
func TestSequenceEnds(t *testing.T) {
	for kind := range kinds {
		from, to := ends(t, kind)
		from.seq, to.seq = math.MaxUint64-1, math.MaxUint64-1
		raw, err := from.Append(nil, Data, []byte("last"))
		require.NoError(t, err)
		_, _, err = to.Open(raw)
		require.NoError(t, err)
		_, err = from.Append(nil, Data, nil)
		require.ErrorIs(t, err, ErrExhausted)
		_, _, err = to.Open(raw)
		require.ErrorIs(t, err, ErrExhausted)
	}
}

func TestWipedIsOfNoUse(t *testing.T) {
	for kind := range kinds {
		from, to := ends(t, kind)
		from.Wipe()
		to.Wipe()
		require.Equal(t, [12]byte{}, from.iv)
		_, err := from.Append(nil, Data, []byte("x"))
		require.ErrorIs(t, err, ErrExhausted)
	}
}

func TestConstructors(t *testing.T) {
	for _, k := range kinds {
		for _, n := range []int{0, k.aead.KeyLen() - 1, k.aead.KeyLen() + 1} {
			_, err := k.make(k.aead, make([]byte, n), make([]byte, k.iv))
			require.Error(t, err)
		}
		_, err := k.make(k.aead, make([]byte, k.aead.KeyLen()), make([]byte, k.iv+1))
		require.Error(t, err)
	}
}

// TestPinnedRecords keeps the bytes of one record of each kind as they are. Interoperation is shown elsewhere; this
// shows a change.
func TestPinnedRecords(t *testing.T) {
	for kind, want := range []string{
		"17030300170608acf0cdf1311f396659607ea1f26627fe1d1e1f45cf",
		"1703030017bcd795b66465724025932db3f8d0788c0d7c4cbb579f7b",
		"170303001e0000000000000001bca108d907748c7c80457ba3753fbd40aac1976bd8c8",
		"1703030016bcd795b66465bb8c7bdbc7abd132041c47c2926d04b5",
	} {
		from, _ := ends(t, kind)
		_, err := from.Append(nil, Data, nil)
		require.NoError(t, err)
		raw, err := from.Append(nil, Data, []byte("pinned"))
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(raw), kinds[kind].name)
	}
}

// FuzzOpen opens anything: it must not panic, and opens nothing that was not sealed.
func FuzzOpen(f *testing.F) {
	for kind := range kinds {
		from, _ := ends(f, kind)
		raw, err := from.Append(nil, Handshake, []byte("seed"))
		require.NoError(f, err)
		f.Add(byte(kind), raw)
		f.Add(byte(kind), raw[:HeaderLen])
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		if len(raw) < HeaderLen {
			return
		}
		from, to := ends(t, int(kind)%len(kinds))
		typ, body, err := to.Open(bytes.Clone(raw))
		if err != nil {
			return
		}
		again, err := from.Append(nil, typ, body)
		require.NoError(t, err)
		if !bytes.Equal(raw[HeaderLen:], again[HeaderLen:]) && !from.Modern() {
			require.True(t, from.explicit, fmt.Sprintf("%x", raw)) // a nonce of the sender's choice
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for kind, k := range kinds {
		for _, n := range []int{64, MaxPlaintext} {
			b.Run(fmt.Sprintf("%s %d", k.name, n), func(b *testing.B) {
				from, _ := ends(b, kind)
				plaintext, dst := make([]byte, n), make([]byte, 0, n+Overhead)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := from.Append(dst, Data, plaintext); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
