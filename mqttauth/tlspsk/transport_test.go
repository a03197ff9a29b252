package tlspsk

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
)

// trickle delivers one octet with each Read, and sends one with each Write.
type trickle struct{ net.Conn }

func (c trickle) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(len(b), 1)]) }

func (c trickle) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// TestByteAtATime moves octets one by one, below and above.
func TestByteAtATime(t *testing.T) {
	for _, v := range variants() {
		a, b := tcpPair(t)
		client, server := Client(trickle{a}, v.apply(clientConfig())), Server(trickle{b}, serverConfig())
		clientErr, serverErr := shake(client, server)
		require.NoError(t, clientErr)
		require.NoError(t, serverErr)
		exchange(t, client, server, 3000)
		_, err := server.Write([]byte("slowly"))
		require.NoError(t, err)
		require.NoError(t, server.CloseWrite())
		var got []byte
		for one := make([]byte, 1); ; {
			n, err := client.Read(one)
			got = append(got, one[:n]...)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
		}
		require.Equal(t, "slowly", string(got))
	}
}

// TestCoalesced lets all that a side has sent since the other last read arrive in one piece.
func TestCoalesced(t *testing.T) {
	for _, v := range onePerSuite() {
		client, server := pair(t, v.apply(clientConfig()), serverConfig())
		for i := range 50 {
			_, err := server.Write(bytes.Repeat([]byte{byte(i)}, i))
			require.NoError(t, err)
		}
		require.NoError(t, server.CloseWrite())
		all, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Len(t, all, 50*49/2)
	}
}

// fragments cuts every handshake record in the clear into records with n octets each.
func fragments(n int) func(int, []byte) [][]byte {
	return func(_ int, raw []byte) [][]byte {
		if record.Type(raw[0]) != record.Handshake {
			return [][]byte{raw}
		}
		var all [][]byte
		for body := raw[record.HeaderLen:]; len(body) > 0; body = body[min(n, len(body)):] {
			piece := body[:min(n, len(body))]
			all = append(all, append([]byte{raw[0], raw[1], raw[2], 0, byte(len(piece))}, piece...))
		}
		return all
	}
}

// untilCCS applies edit to what comes before the first change_cipher_spec: what is in the clear in TLS 1.2.
func untilCCS(edit func(int, []byte) [][]byte) func(int, []byte) [][]byte {
	over := false
	return func(i int, raw []byte) [][]byte {
		if over = over || record.Type(raw[0]) == record.ChangeCipherSpec; over {
			return [][]byte{raw}
		}
		return edit(i, raw)
	}
}

// TestFragmentedHandshake cuts the messages in the clear at every octet, one record for each, and into pieces of other
// lengths.
func TestFragmentedHandshake(t *testing.T) {
	for _, v := range variants() {
		for _, n := range []int{1, 2, 3, 4, 5, 37, 200} {
			require.NoError(t, shakeThrough(t, v, untilCCS(fragments(n)), untilCCS(fragments(n))), "%v, %d", v, n)
		}
	}
}

// TestFragmentedInEncryption cuts messages that are encrypted.
func TestFragmentedInEncryption(t *testing.T) {
	client, server := pair(t, clientConfig(), serverConfig())
	for i := range 5 { // one KeyUpdate, in pieces
		inject(t, server, record.Handshake, []byte{24, 0, 0, 1, 0}[i:i+1])
	}
	server.out.Lock()
	secret := nextSecret(server.out.secret)
	cipher, err := cipher13(server.ConnectionState().CipherSuite, secret)
	require.NoError(t, err)
	server.out.setKeys13(cipher, secret)
	server.out.Unlock()
	exchange(t, server, client, 100)
}

// TestBitFlips flips a bit of each octet that either side sends during a handshake; with MQTTSEC_SOAK, each of its
// bits. The handshake then fails at one end or both. The exception is the minor version in the header of a record in
// the clear, which has no meaning (RFC 8446 section 5.1) and which nobody authenticates.
//
// What a flip does to data is in package record.
func TestBitFlips(t *testing.T) {
	for _, v := range onePerSuite() {
		sent, received := octets(t, v)
		for _, o := range sent {
			for _, bit := range o.bits() {
				err := shakeInBubble(t, v, flip(o, bit), unedited)
				require.Equal(t, o.meaningless, err == nil, "%v to server: %+v, %v", v, o, err)
			}
		}
		for _, o := range received {
			for _, bit := range o.bits() {
				err := shakeInBubble(t, v, unedited, flip(o, bit))
				require.Equal(t, o.meaningless, err == nil, "%v to client: %+v, %v", v, o, err)
			}
		}
	}
}

// octet is one of a record of a handshake.
type octet struct {
	record, at  int
	meaningless bool
}

func (o octet) bits() []int {
	if soak() {
		return []int{0, 1, 2, 3, 4, 5, 6, 7}
	}
	return []int{o.at % 8}
}

func flip(o octet, bit int) func(int, []byte) [][]byte {
	return func(i int, raw []byte) [][]byte {
		if i == o.record {
			raw[o.at] ^= 1 << bit
		}
		return [][]byte{raw}
	}
}

// octets lists all of both directions.
func octets(t *testing.T, v variant) (toServer, toClient []octet) {
	t.Helper()
	list := func(all *[]octet) func(int, []byte) [][]byte {
		encrypted := false
		return func(i int, raw []byte) [][]byte {
			typ := record.Type(raw[0])
			hidden := encrypted || typ == record.Data
			for at := range raw {
				*all = append(*all, octet{i, at, at == 2 && !hidden})
			}
			encrypted = encrypted || v.version == TLS12 && typ == record.ChangeCipherSpec
			return [][]byte{raw}
		}
	}
	require.NoError(t, shakeInBubble(t, v, list(&toServer), list(&toClient)))
	return toServer, toClient
}

// shakeInBubble runs a handshake whose two directions are edited, without the alerts that end the connections. Time
// passes at once: a length that has grown is waited for in vain.
func shakeInBubble(t *testing.T, v variant, toServer, toClient func(int, []byte) [][]byte) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		ends := []*Conn{Client(&tap{Conn: a, edit: toServer}, v.apply(clientConfig())), Server(&tap{Conn: b, edit: toClient}, serverConfig())}
		errs := make([]error, len(ends))
		var wg sync.WaitGroup
		for i, c := range ends {
			wg.Go(func() {
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				if errs[i] = c.Handshake(); errs[i] != nil {
					_ = c.NetConn().Close()
				}
			})
		}
		wg.Wait()
		err = errors.Join(errs...)
		_ = a.Close()
		_ = b.Close()
	})
	return err
}

// soak tells whether tests that have a long form are to take it.
func soak() bool { return os.Getenv("MQTTSEC_SOAK") != "" }

// TestVolume moves much through each suite, in pieces of many lengths, and compares the sums. Set MQTTSEC_SOAK to move
// 1 GiB.
func TestVolume(t *testing.T) {
	volume := 8 << 20
	if soak() {
		volume = 1 << 30
	}
	for _, v := range onePerSuite() {
		t.Run(v.String(), func(t *testing.T) {
			client, server := pair(t, v.apply(clientConfig()), serverConfig())
			type sum struct {
				hash [sha256.Size]byte
				err  error
			}
			sent := make(chan sum, 1)
			go func() {
				h := sha256.New()
				block := make([]byte, 200_000)
				rand.Read(block)
				var err error
				for left, n := volume, 1; left > 0 && err == nil; n = n*7%len(block) + 1 {
					piece := block[:min(n, left)]
					piece[0]++
					h.Write(piece)
					_, err = client.Write(piece)
					left -= len(piece)
				}
				if err == nil {
					err = client.CloseWrite()
				}
				sent <- sum{[sha256.Size]byte(h.Sum(nil)), err}
			}()
			h := sha256.New()
			n, err := io.Copy(h, server)
			require.NoError(t, err)
			require.EqualValues(t, volume, n)
			s := <-sent
			require.NoError(t, s.err)
			require.Equal(t, s.hash, [sha256.Size]byte(h.Sum(nil)))
		})
	}
}
