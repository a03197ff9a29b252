package seal

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/replay"
)

// unanswered is how a message comes at QoS 1.
var unanswered = replay.Arrival{Acknowledged: true, Conn: 1}

func FuzzOpen(f *testing.F) {
	vs := inputs()
	for i := range vs {
		vs[i].fill(f)
		f.Add(vs[i].Topic, []byte(vs[i].Frame))
	}
	k, err := key.New("#", count(0, 32))
	require.NoError(f, err)
	s := testSealer(f, Config{Keys: []Key{k}})
	f.Fuzz(func(t *testing.T, topic string, frame []byte) {
		before := bytes.Clone(frame)
		r := s.newMemory()
		o, err := s.open(nil, &Message{Topic: []byte(topic), Payload: frame}, &unanswered, r)
		require.Equal(t, before, frame)
		if err != nil {
			require.Equal(t, opened{}, o)
			require.Zero(t, r.Size())
			return
		}
		require.LessOrEqual(t, len(o.Payload)+len(o.Properties)+42, len(frame))
		in := frame[headerLen:headerLen]
		_, err = s.open(in, &Message{Topic: []byte(topic), Payload: frame}, &unanswered, r)
		require.ErrorIs(t, err, replay.ErrPending)
	})
}

// FuzzContents opens what a holder of the key has sealed with anything inside.
func FuzzContents(f *testing.F) {
	f.Add(byte(0), []byte("payload"))
	f.Add(byte(flagProperties), []byte("\x02\x01\x01payload"))
	f.Add(byte(flagProperties), []byte("\xff\xff\xff\xff\x7f"))
	f.Add(byte(flagSigned|flagProperties), append(make([]byte, signatureLen), 0x80))
	k, err := key.New("#", count(0, 32))
	require.NoError(f, err)
	public := ed25519.NewKeyFromSeed(count(0x40, 32)).Public().(ed25519.PublicKey)
	open := testSealer(f, Config{Keys: []Key{k}})
	strict := testSealer(f, Config{Keys: []Key{k}, Publishers: []ed25519.PublicKey{public}})
	l, err := open.derive("a")
	require.NoError(f, err)
	b, err := open.newBox(&l.keys[0], [12]byte{1})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, flags byte, plain []byte) {
		ln := newLine()
		putHeader(ln.header, 1, flags&(15|flagOnce), &l.keys[0].id, &[12]byte{1}, 1, 1)
		ln.setTopic("a")
		nonce := ln.makeNonce(&open.suite)
		frame := b.aead.Seal(bytes.Clone(ln.header[:]), nonce, plain, ln.ad)
		m := Message{Topic: []byte("a"), Payload: frame}
		_, err := strict.open(nil, &m, &direct, strict.newMemory())
		require.Error(t, err)
		r := open.newMemory()
		o, err := open.open(frame[headerLen:headerLen], &m, &unanswered, r)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			require.Zero(t, r.Size())
			return
		}
		require.True(t, bytes.HasSuffix(plain, o.Payload))
		require.Equal(t, flags&flagProperties != 0, len(o.Properties) > 0)
	})
}
