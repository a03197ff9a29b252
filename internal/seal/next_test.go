package seal

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Whatever was sealed before it, a message's frame is the one that its header, its topic and its contents make: the
// straight run seals as the general way does, and neither leaves anything behind for the next.
func TestSealNextIsSeal(t *testing.T) {
	for name, suite := range map[string]Suite{"XAES": XAES(), "short sessions": smallSuite()} {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, signed %t", name, signed), func(t *testing.T) {
				cfg := Config{Keys: []Key{testKey(t, "site/#", 1), testKey(t, "#", 2)}}
				if signed {
					cfg.Signer = signerOf(1)
				}
				s, err := New(suite, cfg)
				require.NoError(t, err)
				general, err := New(suite, cfg) // never seals anything new
				require.NoError(t, err)
				require.Equal(t, place16("site/7")%8, place16("depth")%8, "topics that share a line")
				r := rand.New(rand.NewPCG(1, 2))
				seen := map[[16]byte]bool{}
				earlier := Message{Topic: []byte("site/7")}
				earlierFrame, err := s.seal(nil, &earlier)
				require.NoError(t, err)
				for range 3000 {
					m := Message{Topic: []byte([]string{"site/7", "site/8", "depth"}[r.IntN(20)/9]), Payload: make([]byte, r.IntN(40))}
					for i := range m.Payload {
						m.Payload[i] = byte(r.Uint32())
					}
					var frame []byte
					switch r.IntN(20) {
					case 0:
						s.NewSession()
						continue
					case 1:
						m.Retain = true
					case 2:
						m.Will = true
					case 3:
						m.Queued = true
					case 4:
						m.Properties = wire.Properties(nil).AppendPair("k", "v")
					case 5, 6, 7, 8:
						m.Once = true
					case 9, 10, 11, 12:
						frame, err = s.AppendSeal([]byte("before"), string(m.Topic), m.Payload)
						frame = bytes.TrimPrefix(frame, []byte("before"))
					}
					if frame == nil {
						frame, err = s.seal(make([]byte, 0, r.IntN(100)), &m)
					}
					require.NoError(t, err)
					require.Len(t, frame, s.sealedSize(&m))
					nonce := [16]byte(append(frame[sessionAt:timeAt:timeAt], frame[seqAt:headerLen]...))
					require.False(t, seen[nonce])
					seen[nonce] = true
					if suite.Budget == 0 && !m.Will {
						require.EqualValues(t, s.series(&m).Load().id[:], frame[sessionAt:timeAt])
					}
					if r.IntN(5) == 0 { // one sealed before, on any topic, in any session
						_, same, err := s.reseal(nil, &earlier, s.stamp(earlierFrame))
						require.NoError(t, err)
						require.True(t, same)
					}
					if r.IntN(10) == 0 {
						earlier, earlierFrame = m, frame
					}
					again, same, err := general.reseal(nil, &m, s.stamp(frame))
					require.NoError(t, err)
					require.True(t, same)
					require.Equal(t, frame, again)
					o, err := general.open(nil, &Message{Topic: m.Topic, Payload: frame}, nil, nil)
					require.NoError(t, err)
					require.True(t, bytes.Equal(m.Payload, o.Payload))
					require.True(t, bytes.Equal(m.Properties, o.Properties))
				}
			})
		}
	}
}

// Two receivers, of which one never has anything left of the last message and so judges each in the general way, agree
// on everything that arrives at one moment.
func TestOpenNextIsOpen(t *testing.T) {
	for name, cfg := range map[string]Config{"plain": {}, "MaxAge": {MaxAge: 1000e9}, "few sessions": {MaxSessions: 1}} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { agree(t, cfg) }) })
	}
}

func agree(t *testing.T, cfg Config) {
	cfg.Keys = []Key{testKey(t, "#", 1), testKey(t, "site/#", 2)}
	warm, cold := testSealer(t, cfg), testSealer(t, cfg)
	one := forger{testSealer(t, Config{Keys: cfg.Keys[:1]})}
	two := forger{testSealer(t, Config{Keys: cfg.Keys[1:]})}
	r := rand.New(rand.NewPCG(3, 4))
	memories := [2][2]*replay.Memory{{warm.own, cold.own}, {warm.newMemory(), cold.newMemory()}}
	start := unix()
	next := map[string]uint32{}
	var frames [][]byte
	opened := 0
	for i := range 6000 {
		from, topic := one, []string{"site/7", "site/8", "depth"}[r.IntN(20)/9]
		if topic != "depth" && r.IntN(4) == 0 {
			from = two
		}
		session, at := uint32(1+r.IntN(12)/9), start+uint32(i/50)
		of := fmt.Sprint(topic, session)
		next[of]++
		seq, flags := next[of], byte(0)
		switch r.IntN(20) {
		case 0:
			seq = uint32(1 + r.IntN(int(seq)))
		case 1:
			next[of] += uint32(r.IntN(3000))
		case 2:
			flags = flagRetain
		case 3:
			at = []uint32{0, start - 5000, start + 5000, at - 1}[r.IntN(4)]
		case 4, 5, 6:
			flags = flagOnce
		}
		frame := from.frame(t, topic, flags, session, at, seq, fmt.Sprint(i))
		frames = append(frames, frame)
		switch r.IntN(20) {
		case 0: // once more
			frame = frames[max(0, len(frames)-1-r.IntN(200))]
		case 1: // on another topic
			topic = "site/8"
		case 2:
			frame = bytes.Clone(frame)
			frame[r.IntN(len(frame))] ^= 1 << r.IntN(8)
		case 3:
			frame = frame[:r.IntN(len(frame)+1)]
		case 4:
			frame = append(bytes.Clone(frame), 0)
		}
		how := replay.Arrival{Acknowledged: r.IntN(8) == 0, Retained: r.IntN(20) == 0}
		if r.IntN(20) == 0 {
			how.Streams = []uint32{uint32(r.IntN(2))}
		}
		m := memories[r.IntN(6)/5]
		cold.scratches = sync.Pool{New: func() any { return newScratch() }}
		msg := Message{Topic: []byte(topic), Payload: bytes.Clone(frame)}
		want, wantErr := cold.open(nil, &msg, &how, m[1])
		got, err := warm.open(msg.Payload[min(headerLen, len(frame)):min(headerLen, len(frame))], &msg, &how, m[0])
		require.Equal(t, wantErr, err, i)
		require.Equal(t, string(want.Payload), string(got.Payload), i)
		require.Equal(t, m[1].Size(), m[0].Size(), i)
		if err == nil {
			opened++
		} else if len(frame) > headerLen && err != ErrAuthentication && got.Payload != nil {
			require.Fail(t, "a plaintext is left")
		}
	}
	require.Greater(t, opened, 1000)
}

// What a line was aimed at for a forgery is not used for the next message.
func TestForgeryLeavesNoLine(t *testing.T) {
	alice, bob := pair(t, "#")
	first, err := alice.Seal("a", []byte("first"))
	require.NoError(t, err)
	_, err = bob.Open("a", first)
	require.NoError(t, err)
	signed := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, Signer: signerOf(1)})
	second, err := signed.Seal("a", []byte("second"))
	require.NoError(t, err)
	forged := bytes.Clone(second)
	forged[len(forged)-1] ^= 1
	for range 3 {
		_, err = bob.Open("a", forged)
		require.ErrorIs(t, err, ErrAuthentication)
	}
	got, err := bob.Open("a", second)
	require.NoError(t, err)
	require.Equal(t, "second", string(got))
}

// One who is alone gets numbers in order; several who draw at once get blocks.
func TestNumbers(t *testing.T) {
	s := newSession()
	var a, b numbers
	draw := func(n *numbers, now uint32) uint32 {
		seq, ok := s.draw(n, now)
		require.True(t, ok)
		return seq
	}
	require.EqualValues(t, 1, draw(&a, 10))
	require.EqualValues(t, 2, draw(&b, 10))
	require.EqualValues(t, 3, draw(&a, 10))
	s.busy.Store(11) // second 10
	for i := range uint32(blockLen) {
		require.EqualValues(t, 4+i, draw(&a, 10))
		require.EqualValues(t, 4+blockLen+i, draw(&b, 10))
	}
	require.EqualValues(t, 4+2*blockLen, draw(&a, 10))
	for range maxLag - blockLen { // to where a's block is just not too old
		draw(&b, 10)
	}
	require.EqualValues(t, 5+2*blockLen, draw(&a, 10))
	for range 2 * blockLen {
		draw(&b, 10)
	}
	highest := uint32(s.seq.Load())
	require.Equal(t, highest+1, draw(&a, 10), "the rest of a block that is too old is skipped")
	require.Equal(t, highest+2, draw(&a, 10))
	highest = uint32(s.seq.Load())
	require.Equal(t, highest+1, draw(&a, 11), "and so is what is left when the second is over")
	require.Equal(t, highest+2, draw(&b, 11))
	other := newSession()
	other.seq.Store(uint64(highest) + 10)
	other.busy.Store(12)
	s.busy.Store(12)
	draw(&a, 11)
	s, highest = other, highest+10
	require.Equal(t, highest+1, draw(&a, 11), "a session has its own")
}

// A retained message has a higher number than all before it, whoever has numbers left: a receiver that has been shown
// it takes a lower one for a step back.
func TestRetainedNumbersRise(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
	several := [2]*scratch{newScratch(), newScratch()}
	var highest uint32
	lower := 0
	for i := range 500 {
		s.session.Load().busy.Store(uint64(s.now()) + 1)
		s.scratches = sync.Pool{New: func() any { return several[i%2] }}
		m := Message{Topic: []byte("a"), Retain: i%3 == 0}
		frame, err := s.seal(nil, &m)
		require.NoError(t, err)
		seq := binary.BigEndian.Uint32(frame[seqAt:])
		if m.Retain {
			require.Greater(t, seq, highest)
		} else if seq < highest {
			lower++
		}
		highest = max(highest, seq)
	}
	require.NotZero(t, lower)
}

func TestNumbersAreUnique(t *testing.T) {
	for _, from := range []uint64{0, 1<<32 - 1 - 5000} {
		s := newSession()
		s.seq.Store(from)
		var mu sync.Mutex
		seen := map[uint32]bool{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				var n numbers
				for i := range uint32(4000) {
					seq, ok := s.draw(&n, 10+i/1000)
					if !ok {
						return
					}
					mu.Lock()
					if seen[seq] || seq == 0 {
						panic("a number twice")
					}
					seen[seq] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.NotEmpty(t, seen)
	}
}

// racingAEAD has something happen once, while a message is being decrypted.
type racingAEAD struct {
	cipher.AEAD
	meanwhile func()
}

func (a *racingAEAD) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	out, err := a.AEAD.Open(dst, nonce, ciphertext, ad)
	if f := a.meanwhile; f != nil {
		a.meanwhile = nil
		f()
	}
	return out, err
}

// TestLosingCopyIsWiped opens two copies of a message at once, in place: of the one that is refused nothing is left
// that can be read, be it opened in the straight run or in the general way.
func TestLosingCopyIsWiped(t *testing.T) {
	for name, how := range map[string]replay.Arrival{"straight run": {}, "general": {Acknowledged: true}} {
		t.Run(name, func(t *testing.T) {
			alice, bob := pair(t, "#")
			open := func(frame []byte) error {
				how := how
				o, err := bob.open(frame[headerLen:headerLen], &Message{Topic: []byte("a"), Payload: frame}, &how, bob.own)
				if err == nil {
					require.Equal(t, "a secret of some length", string(o.Payload))
				}
				return err
			}
			seal := func() []byte {
				frame, err := alice.Seal("a", []byte("a secret of some length"))
				require.NoError(t, err)
				return frame
			}
			require.NoError(t, open(seal()))
			k := &bob.topics.findString("a").keys[0]
			b := k.opening.Load()
			require.NotNil(t, b)
			frame := seal()
			racing := &racingAEAD{AEAD: b.aead}
			b.aead = racing
			copied := bytes.Clone(frame)
			racing.meanwhile = func() { require.NoError(t, open(copied)) }
			require.ErrorIs(t, open(frame), ErrReplay)
			require.Nil(t, racing.meanwhile)
			require.Equal(t, make([]byte, len("a secret of some length")), frame[headerLen:len(frame)-bob.suite.TagSize])
		})
	}
}

// TestTooLargeForTheSuite: what is larger than a suite's limit is refused before it is decrypted, on a topic that was
// just heard too.
func TestTooLargeForTheSuite(t *testing.T) {
	wide := smallSuite()
	wide.MaxPlaintext, wide.Budget, wide.Calls = 2000, 0, nil
	narrow := wide
	narrow.MaxPlaintext = 1000
	cfg := Config{Keys: []Key{testKey(t, "#", 1)}}
	alice, err := New(wide, cfg)
	require.NoError(t, err)
	bob, err := New(narrow, cfg)
	require.NoError(t, err)
	for _, n := range []int{10, 1001, 1000, 1001} {
		frame, err := alice.Seal("a", make([]byte, n))
		require.NoError(t, err)
		_, err = bob.Open("a", frame)
		if n > 1000 {
			require.ErrorIs(t, err, ErrTooLarge)
		} else {
			require.NoError(t, err)
		}
	}
}
