package bench

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/mqttsec/mqttsec/present/presentcipher"
)

// presentPath is one way in which package present computes, with its limits.
type presentPath struct {
	name    string
	setting string // the GODEBUG with which a processor that has more takes it
	needs   string // what a processor must have for it

	id                string  // of the goal for long messages
	ctr, small, block float64 // see presentGoals; 0 for no goal
	seal64, seal1K    float64
	setUp             float64
}

var presentPaths = []presentPath{
	{"avx512", "", "AVX-512 with GFNI, VBMI2 and BITALG", "P1", 1. / 30, 1.15, 0.70, 5, 8, 1},
	{"avx2", "cpu.avx512f=off", "AVX2 and BMI2", "P2", 1. / 14, 2.5, 0.70, 5, 8, 1},
	{"portable", "cpu.avx512f=off,cpu.avx2=off,cpu.asimd=off", "", "P3", 0.15, 3.3, 1.6, 0, 0, 0},
}

// presentGoals are about the block cipher and the AEAD made of it, on each path. A process
// takes one; those that it does not take are measured in processes of other settings.
func presentGoals() []Goal {
	const rounds = 101
	takes := presentTakes()
	var goals []Goal
	add := func(p presentPath, id, what string, limit, stretch float64, pair func() (Pair, error)) {
		if limit == 0 {
			return
		}
		g := Goal{
			ID: id, What: what + ", " + p.name, Limit: limit, Stretch: stretch, Rounds: rounds, Path: p.name, Skip: p.skip,
			Setup: func(context.Context) (Pair, error) { return pair() },
		}
		if p.name != takes {
			g.Setting = p.setting
		}
		goals = append(goals, g)
	}
	for _, p := range presentPaths {
		add(p, p.id, "PRESENT CTR 1 KiB / table-driven", p.ctr, 0, func() (Pair, error) { return presentCTR(1024) })
	}
	for _, p := range presentPaths {
		add(p, "P4", "PRESENT CTR 64 B / AES-128-GCM Seal", p.small, 0, presentSmallCTR)
	}
	for _, p := range presentPaths {
		add(p, "P5", "PRESENT block, serial / table-driven", p.block, 0, presentBlock)
	}
	for _, p := range presentPaths {
		add(p, "P6", "PRESENT AEAD Seal 64 B / AES-128-GCM", p.seal64, 3.3, func() (Pair, error) { return presentSeal(64) })
		add(p, "P6", "PRESENT AEAD Seal 1 KiB / AES-128-GCM", p.seal1K, 5, func() (Pair, error) { return presentSeal(1024) })
	}
	for _, p := range presentPaths {
		add(p, "P7", "PRESENT AEAD key set-up / AES-128-GCM", p.setUp, 0, presentSetUp)
	}
	neon := presentPath{name: "neon", needs: "NEON (arm64)"}
	add(neon, "N1", "PRESENT CTR 1 KiB / portable", 0.35, 0, presentPortable)
	return goals
}

// skip says why this process does not show what p can do.
func (p presentPath) skip() string {
	if takes := presentTakes(); takes != p.name {
		return fmt.Sprintf("takes %s here; %s takes a processor with %s", takes, p.name, p.needs)
	}
	return ""
}

// A keyStream is what the AEAD of package present has besides.
type keyStream interface {
	XORKeyStream(dst, src, nonce []byte)
}

func presentKeyStream() (keyStream, error) {
	a, err := presentcipher.NewAEAD([presentcipher.KeySize]byte{1})
	if err != nil {
		return nil, err
	}
	k, ok := a.(keyStream)
	if !ok {
		return nil, fmt.Errorf("bench: %T shows no counter mode", a)
	}
	return k, nil
}

func presentCTR(size int) (Pair, error) {
	k, err := presentKeyStream()
	if err != nil {
		return Pair{}, err
	}
	t := newPresentTable()
	buf, nonce := make([]byte, size), make([]byte, presentcipher.NonceSize)
	return Pair{
		A: Loop(func() { k.XORKeyStream(buf, buf, nonce) }),
		B: Loop(func() { t.ctr(buf, 0) }),
	}, nil
}

// presentPortable compares the counter mode of the path taken with that of the portable one. An emulator shows
// nothing of it: vectors are what it is slow at.
func presentPortable() (Pair, error) {
	k, err := presentKeyStream()
	if err != nil {
		return Pair{}, err
	}
	v, ok := k.(interface{ Portable() cipher.AEAD })
	if !ok {
		return Pair{}, fmt.Errorf("bench: %T is the portable path", k)
	}
	p, ok := v.Portable().(keyStream)
	if !ok {
		return Pair{}, fmt.Errorf("bench: the portable path of %T shows no counter mode", k)
	}
	buf, nonce := make([]byte, 1024), make([]byte, presentcipher.NonceSize)
	return Pair{
		A: Loop(func() { k.XORKeyStream(buf, buf, nonce) }),
		B: Loop(func() { p.XORKeyStream(buf, buf, nonce) }),
	}, nil
}

func presentSmallCTR() (Pair, error) {
	k, err := presentKeyStream()
	if err != nil {
		return Pair{}, err
	}
	gcm, err := aesGCM()
	if err != nil {
		return Pair{}, err
	}
	buf, nonce := make([]byte, 64), make([]byte, gcm.NonceSize())
	dst := make([]byte, 0, 64+gcm.Overhead())
	return Pair{
		A: Loop(func() { k.XORKeyStream(buf, buf, nonce[:presentcipher.NonceSize]) }),
		B: Loop(func() { gcm.Seal(dst, nonce, buf, nil) }),
	}, nil
}

func presentBlock() (Pair, error) {
	c, err := presentcipher.NewCipher(make([]byte, 16))
	if err != nil {
		return Pair{}, err
	}
	t := newPresentTable()
	var serial [presentcipher.BlockSize]byte
	w := uint64(1)
	return Pair{
		A: Loop(func() { c.Encrypt(serial[:], serial[:]) }),
		B: Loop(func() { w = t.encrypt(w) }),
	}, nil
}

func presentSeal(size int) (Pair, error) {
	a, err := presentcipher.NewAEAD([presentcipher.KeySize]byte{1})
	if err != nil {
		return Pair{}, err
	}
	gcm, err := aesGCM()
	if err != nil {
		return Pair{}, err
	}
	buf, nonce := make([]byte, size), make([]byte, gcm.NonceSize())
	dst := make([]byte, 0, size+gcm.Overhead())
	return Pair{
		A: Loop(func() { a.Seal(dst, nonce[:presentcipher.NonceSize], buf, nil) }),
		B: Loop(func() { gcm.Seal(dst, nonce, buf, nil) }),
	}, nil
}

// kept is where new keys go, so that they are on the heap as a caller's are.
var kept any

func presentSetUp() (Pair, error) {
	return Pair{
		A: repeat(func() (err error) {
			kept, err = presentcipher.NewAEAD([presentcipher.KeySize]byte{1})
			return err
		}),
		B: repeat(func() (err error) {
			kept, err = aesGCM()
			return err
		}),
		Close: func() error {
			runtime.KeepAlive(kept)
			kept = nil
			return nil
		},
	}, nil
}

// aesGCM is AES-128-GCM, set up from a key.
func aesGCM() (cipher.AEAD, error) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// A presentTable is the yardstick: PRESENT with S-box and permutation of each
// byte in one lookup, the usual fast implementation. Its lookups give the key
// away to whoever shares the cache, so it is for comparison only. What its
// round keys are makes no difference to its speed.
type presentTable struct {
	keys [32]uint64
	sp   [8][256]uint64
}

func newPresentTable() *presentTable {
	s := [16]uint64{0xC, 5, 6, 0xB, 9, 0, 0xA, 0xD, 3, 0xE, 0xF, 8, 4, 7, 1, 2}
	t := new(presentTable)
	for b := range t.sp {
		for v := range t.sp[b] {
			y := s[v&15] | s[v>>4]<<4
			for bit := range 8 {
				i := 8*b + bit
				t.sp[b][v] |= y >> bit & 1 << (i/4 + i%4*16)
			}
		}
	}
	return t
}

func (t *presentTable) encrypt(w uint64) uint64 {
	sp := &t.sp
	for _, k := range t.keys[:31] {
		w ^= k
		w = sp[0][w&255] ^ sp[1][w>>8&255] ^ sp[2][w>>16&255] ^ sp[3][w>>24&255] ^
			sp[4][w>>32&255] ^ sp[5][w>>40&255] ^ sp[6][w>>48&255] ^ sp[7][w>>56]
	}
	return w ^ t.keys[31]
}

func (t *presentTable) ctr(buf []byte, iv uint64) {
	for i := 0; i+8 <= len(buf); i += 8 {
		b := buf[i : i+8]
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^t.encrypt(iv))
		iv++
	}
}
