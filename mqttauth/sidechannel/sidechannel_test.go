package sidechannel

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

var (
	batchKey = bytes.Repeat([]byte{3, 4}, 16)
	start    = time.Unix(1_800_000_000, 0)
)

func testToken(t testing.TB, filter string) Token {
	t.Helper()
	o, err := token.GenerateOwner("site/#")
	require.NoError(t, err)
	tok, err := o.Issue(token.Terms{Kind: token.Auth2, Filter: filter, Expires: start.Add(time.Hour), Once: true})
	require.NoError(t, err)
	return tok
}

// everyFlip calls f with each copy of b that differs in a bit.
func everyFlip(b []byte, f func(bit int, bad []byte)) {
	for bit := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[bit/8] ^= 1 << (bit % 8)
		f(bit, bad)
	}
}

func TestQRIsReadBack(t *testing.T) {
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("zbarimg is not installed")
	}
	require.NoError(t, err)
	for _, filter := range []string{"site/7", "site/" + strings.Repeat("a/b", 100)} {
		tok := testToken(t, filter)
		q, err := NewQR(tok)
		require.NoError(t, err)
		file, err := q.PNG(4)
		require.NoError(t, err)
		for name, content := range map[string][]byte{"file": file, "dark": screenshot(t, q, false), "light": screenshot(t, q, true)} {
			path := filepath.Join(t.TempDir(), name+".png")
			require.NoError(t, os.WriteFile(path, content, 0o600))
			out, err := exec.Command(zbarimg, "--raw", "--quiet", "--nodbus", path).Output()
			require.NoError(t, err, name)
			read, err := ReadText(out)
			require.NoError(t, err)
			require.True(t, tok.Equal(read))
		}
	}
}

// screenshot is what a terminal shows: blocks in the foreground's colour, spaces in the background's.
func screenshot(t *testing.T, q *QR, inverted bool) []byte {
	lines := strings.Split(strings.TrimSuffix(q.Terminal(inverted), "\n"), "\n")
	require.Equal(t, q.Text(), lines[len(lines)-1], "the text is beside it")
	lines = lines[:len(lines)-1]
	require.Len(t, lines, q.Size())
	const scale = 4
	img := image.NewGray(image.Rect(0, 0, len(lines)*scale, len(lines)*scale))
	for y, line := range lines {
		cells := []rune(line)
		require.Len(t, cells, 2*q.Size())
		for x := range q.Size() {
			if (cells[2*x] == '█') == inverted {
				continue // dark
			}
			for i := range scale * scale {
				img.Pix[img.PixOffset(x*scale+i%scale, y*scale+i/scale)] = 0xFF
			}
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

func TestQRRefuses(t *testing.T) {
	q, err := NewQR(testToken(t, "site/7"))
	require.NoError(t, err)
	for _, scale := range []int{0, -1, 65} {
		_, err := q.PNG(scale)
		require.Error(t, err)
	}
	_, err = NewQR(Token{})
	require.Error(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", q, q, q, q), q.Text())
	everyFlip([]byte(q.Text()), func(bit int, bad []byte) {
		if strings.EqualFold(string(bad), q.Text()) {
			return // case does not matter
		}
		_, err := ReadText(bad)
		require.ErrorIs(t, err, ErrMalformed, "bit %d", bit)
	})
}

func TestNDEFSurvives(t *testing.T) {
	for _, filter := range []string{"site/7", "site/" + strings.Repeat("x", 300)} {
		tok := testToken(t, filter)
		b, err := NDEF(tok)
		require.NoError(t, err)
		read, err := ReadNDEF(b)
		require.NoError(t, err)
		require.True(t, tok.Equal(read))

		uri := []byte{0x80 | 0x10 | 0x01, 1, 1, 'U', 4}
		among := append(bytes.Clone(uri), b...)
		among[len(uri)] &^= ndefBegin
		read, err = ReadNDEF(among)
		require.NoError(t, err, "another record beside it")
		require.True(t, tok.Equal(read))
		_, err = ReadNDEF(append(bytes.Clone(b), b...))
		require.ErrorIs(t, err, ErrMalformed, "two messages")
	}
	_, err := NDEF(Token{})
	require.Error(t, err)
}

func TestNDEFRefuses(t *testing.T) {
	b, err := NDEF(testToken(t, "site/7"))
	require.NoError(t, err)
	everyFlip(b, func(bit int, bad []byte) {
		_, err := ReadNDEF(bad)
		require.ErrorIs(t, err, ErrMalformed, "bit %d", bit)
	})
	for n := range b {
		_, err := ReadNDEF(b[:n])
		require.ErrorIs(t, err, ErrMalformed)
	}
	_, err = ReadNDEF(make([]byte, maxNDEF+1))
	require.ErrorIs(t, err, ErrMalformed)
	two := bytes.Clone(b)
	two[0] &^= ndefEnd
	second := bytes.Clone(b)
	second[0] &^= ndefBegin
	_, err = ReadNDEF(append(two, second...))
	require.ErrorIs(t, err, ErrMalformed, "two tokens")
}

func TestBatch(t *testing.T) {
	now := start
	factory, err := NewBatch(batchKey)
	require.NoError(t, err)
	device, err := NewBatch(batchKey)
	require.NoError(t, err)
	device.now = func() time.Time { return now }
	tok := testToken(t, "site/7")
	envelope, err := factory.Seal(tok, start.Add(time.Minute))
	require.NoError(t, err)
	secret, err := tok.MarshalBinary()
	require.NoError(t, err)
	require.NotContains(t, string(envelope), string(secret[40:60]))
	everyFlip(envelope, func(bit int, bad []byte) {
		_, err := device.Open(bad)
		require.Error(t, err, "bit %d", bit)
	})
	for n := range envelope {
		_, err := device.Open(envelope[:n])
		require.Error(t, err)
	}
	read, err := device.Open(envelope)
	require.NoError(t, err)
	require.True(t, tok.Equal(read))
	_, err = device.Open(envelope)
	require.ErrorIs(t, err, ErrUsed)

	late, err := factory.Seal(tok, start.Add(time.Minute))
	require.NoError(t, err)
	now = start.Add(time.Minute)
	_, err = device.Open(late)
	require.ErrorIs(t, err, ErrExpired)

	other, err := NewBatch(bytes.Repeat([]byte{9}, 32))
	require.NoError(t, err)
	_, err = other.Open(envelope)
	require.ErrorIs(t, err, ErrOpen)
	_, err = NewBatch([]byte("short"))
	require.Error(t, err)
	_, err = factory.Seal(tok, time.Time{})
	require.Error(t, err)
	_, err = factory.Seal(Token{}, start)
	require.Error(t, err)
}

// TestBatchRemembersABoundedNumber: what is forgotten has expired; before that, more is refused.
func TestBatchRemembersABoundedNumber(t *testing.T) {
	now := start
	b, err := NewBatch(batchKey)
	require.NoError(t, err)
	b.now = func() time.Time { return now }
	for i := range maxOpened {
		require.NoError(t, b.use([idSize]byte{byte(i), byte(i >> 8)}, start.Add(time.Minute)))
	}
	require.ErrorIs(t, b.use([idSize]byte{15: 1}, start.Add(time.Minute)), ErrFull)
	now = start.Add(time.Minute)
	require.NoError(t, b.use([idSize]byte{15: 1}, start.Add(time.Hour)))
	require.Len(t, b.opened, 1)
}

func TestRecipient(t *testing.T) {
	now := start
	at := clock(func() time.Time { return now })
	device, err := newRecipient(time.Minute, at)
	require.NoError(t, err)
	tok := testToken(t, "site/7")
	offer := device.Offer()
	sealed, err := answer(offer, tok, at)
	require.NoError(t, err)
	everyFlip(sealed, func(bit int, bad []byte) {
		_, err := device.Open(bad)
		require.Error(t, err, "bit %d", bit)
	})
	everyFlip(offer, func(bit int, bad []byte) {
		b, err := answer(bad, tok, at)
		if err == nil {
			_, err = device.Open(b)
		}
		require.Error(t, err, "bit %d", bit)
	})
	other, err := newRecipient(time.Minute, at)
	require.NoError(t, err)
	_, err = other.Open(sealed)
	require.ErrorIs(t, err, ErrOpen)

	read, err := device.Open(sealed)
	require.NoError(t, err)
	require.True(t, tok.Equal(read))
	_, err = device.Open(sealed)
	require.ErrorIs(t, err, ErrUsed)

	late, err := answer(other.Offer(), tok, at)
	require.NoError(t, err)
	now = start.Add(time.Minute)
	_, err = other.Open(late)
	require.ErrorIs(t, err, ErrExpired)
	_, err = answer(other.Offer(), tok, at)
	require.ErrorIs(t, err, ErrExpired)
	_, err = NewRecipient(0)
	require.Error(t, err)
	_, err = answer(offer[:len(offer)-1], tok, at)
	require.ErrorIs(t, err, ErrMalformed)
	require.NotEqual(t, Fingerprint(offer), Fingerprint(other.Offer()))
	require.Len(t, Fingerprint(offer), 19)
}

// TestOfferWithAWeakKey: a public key with which everybody has the same secret.
func TestOfferWithAWeakKey(t *testing.T) {
	device, err := NewRecipient(time.Minute)
	require.NoError(t, err)
	offer := device.Offer()
	for i := answerHeader + 8; i < len(offer); i++ {
		offer[i] = 0
	}
	_, err = Answer(offer, testToken(t, "site/7"))
	require.ErrorIs(t, err, ErrMalformed)
}

func TestNothingPrintsAKey(t *testing.T) {
	b, err := NewBatch(batchKey)
	require.NoError(t, err)
	r, err := NewRecipient(time.Minute)
	require.NoError(t, err)
	for _, v := range []any{b, r} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
			require.Less(t, len(fmt.Sprintf(verb, v)), 30)
		}
	}
}

func FuzzNDEF(f *testing.F) {
	b, err := NDEF(testToken(f, "site/7"))
	require.NoError(f, err)
	f.Add(b)
	f.Add(append([]byte{0x91, 1, 1, 'U', 4}, b...))
	f.Add([]byte{0xC2, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := ReadNDEF(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := NDEF(tok)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := ReadNDEF(again); err != nil || !read.Equal(tok) {
			t.Fatalf("%x", b)
		}
	})
}

func FuzzEnvelopes(f *testing.F) {
	b, err := NewBatch(batchKey)
	require.NoError(f, err)
	other, err := NewBatch(bytes.Repeat([]byte{5, 6}, 16))
	require.NoError(f, err)
	envelope, err := other.Seal(testToken(f, "site/7"), time.Now().Add(time.Hour))
	require.NoError(f, err)
	r, err := NewRecipient(time.Hour)
	require.NoError(f, err)
	f.Add(envelope)
	f.Add(r.Offer())
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := b.Open(in); err == nil {
			t.Fatal("opened what nobody sealed")
		}
		if _, err := r.Open(in); err == nil {
			t.Fatal("opened what nobody sealed")
		}
		_, _ = Answer(in, Token{})
	})
}
