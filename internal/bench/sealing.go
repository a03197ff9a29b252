package bench

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/aesmsg"
)

const (
	sealingTopic = "site/7/temperature"

	// associatedLabel and sealedHeader are what stands in a sealed message's
	// associated data before the topic: 10 bytes of label and 26 of header.
	associatedLabel, sealedHeader = 10, 26
)

// sealingGoals are about one message and no connection.
func sealingGoals() []Goal {
	// The two sides of one round should see the same machine, so rounds are short and
	// many.
	const rounds = 201
	// What is to be opened is opened once, so it all lies ready: so little that the cache of a
	// processor core holds it.
	const openBatch = 500 * time.Microsecond
	seal := func(size int) func(context.Context) (Pair, error) {
		return func(context.Context) (Pair, error) { return sealPair(size) }
	}
	open := func(size int) func(context.Context) (Pair, error) {
		return func(context.Context) (Pair, error) { return openPair(size) }
	}
	return []Goal{
		{
			ID: "A1", What: "AppendSeal 64 B / AES-256-GCM Seal", Limit: 1.18, Tenth: true, NoAllocs: true, Rounds: rounds,
			Setup: seal(64),
		},
		{
			ID: "A2", What: "AppendSeal 1 KiB / AES-256-GCM Seal", Limit: 1.08, Tenth: true, NoAllocs: true, Rounds: rounds,
			Setup: seal(1024),
		},
		{
			ID: "A3", What: "AppendOpen 64 B / AES-256-GCM Open", Limit: 1.4, Tenth: true, NoAllocs: true, Rounds: 2 * rounds,
			Batch: openBatch, Setup: open(64),
		},
		{
			ID: "A3", What: "AppendOpen 1 KiB / AES-256-GCM Open", Limit: 1.18, Tenth: true, NoAllocs: true, Rounds: 2 * rounds,
			Batch: openBatch, Setup: open(1024),
		},
		{
			ID: "A4", What: "first Seal on a topic of 7 levels", Limit: 5, Unit: time.Microsecond, Tenth: true, Rounds: rounds,
			Setup: coldSeal("plant/%d/hall/%d/line/%d/temperature"),
		},
		{
			ID: "A4", What: "first Seal on a topic beside one in use", Limit: 3, Unit: time.Microsecond, Tenth: true, Rounds: rounds,
			Setup: coldSeal("plant/7/hall/7/line/7/%d-%d-%d"),
		},
	}
}

// newAES returns a Sealer of aesmsg with a fresh key for filter.
func newAES(filter string) (*aesmsg.Sealer, error) {
	key, err := aesmsg.GenerateKey(filter)
	if err != nil {
		return nil, err
	}
	return aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
}

// raw is AES-256-GCM as a sealed message uses it, and nothing else.
type raw struct {
	aead       cipher.AEAD
	nonce      []byte
	associated []byte
}

func newRaw() (raw, error) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return raw{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return raw{}, err
	}
	associated := make([]byte, associatedLabel+sealedHeader+len(sealingTopic))
	return raw{aead, make([]byte, aead.NonceSize()), associated}, nil
}

func sealPair(size int) (Pair, error) {
	sealer, err := newAES("site/#")
	if err != nil {
		return Pair{}, err
	}
	r, err := newRaw()
	if err != nil {
		return Pair{}, err
	}
	payload := make([]byte, size)
	dst := make([]byte, 0, size+aesmsg.Overhead)
	return Pair{
		A: Side{Run: func(n int) error {
			for range n {
				if _, err := sealer.AppendSeal(dst, sealingTopic, payload); err != nil {
					return err
				}
			}
			return nil
		}},
		B: Loop(func() { r.aead.Seal(dst[:sealedHeader], r.nonce, payload, r.associated) }),
	}, nil
}

func openPair(size int) (Pair, error) {
	sealer, err := newAES("site/#")
	if err != nil {
		return Pair{}, err
	}
	r, err := newRaw()
	if err != nil {
		return Pair{}, err
	}
	payload := make([]byte, size)
	dst := make([]byte, 0, size)
	length := size + aesmsg.Overhead
	var sealed, encrypted []byte
	return Pair{
		A: Side{
			Prepare: func(n int) (err error) {
				sealed = sealed[:0]
				for range n {
					if sealed, err = sealer.AppendSeal(sealed, sealingTopic, payload); err != nil {
						return err
					}
				}
				return nil
			},
			Run: func(n int) error {
				for i := range n {
					if _, err := sealer.AppendOpen(dst, sealingTopic, sealed[i*length:(i+1)*length]); err != nil {
						return err
					}
				}
				return nil
			},
		},
		B: Side{
			Prepare: func(n int) error {
				encrypted = encrypted[:0]
				for range n {
					encrypted = append(encrypted, r.associated[:sealedHeader]...)
					encrypted = r.aead.Seal(encrypted, r.nonce, payload, r.associated)
				}
				return nil
			},
			Run: func(n int) error {
				for i := range n {
					message := encrypted[i*length+sealedHeader : (i+1)*length]
					if _, err := r.aead.Open(dst, r.nonce, message, r.associated); err != nil {
						return err
					}
				}
				return nil
			},
		},
	}, nil
}

// coldSeal goes round so many topics that each is forgotten before its turn comes again. The format takes three
// numbers, each below 32.
func coldSeal(format string) func(context.Context) (Pair, error) {
	return func(context.Context) (Pair, error) {
		sealer, err := newAES("#")
		if err != nil {
			return Pair{}, err
		}
		topics := make([]string, 1<<15)
		for i := range topics {
			topics[i] = fmt.Sprintf(format, i>>10, i>>5&31, i&31)
		}
		payload := make([]byte, 64)
		dst := make([]byte, 0, len(payload)+aesmsg.Overhead)
		next := 0
		return Pair{A: Side{Run: func(n int) error {
			for range n {
				if _, err := sealer.AppendSeal(dst, topics[next], payload); err != nil {
					return err
				}
				next = (next + 1) % len(topics)
			}
			return nil
		}}}, nil
	}
}
