package schedule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

const (
	masterLen = 48
	verifyLen = 12
)

// prf fills out with P_SHA256 (RFC 5246 section 5).
func prf(out, secret []byte, label string, seeds ...[]byte) {
	seed := []byte(label)
	for _, s := range seeds {
		seed = append(seed, s...)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(seed)
	a := mac.Sum(nil)
	var block []byte
	for len(out) > 0 {
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		block = mac.Sum(block[:0])
		out = out[copy(out, block):]
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(a[:0])
	}
	clear(a)
	clear(block)
}

// Master12 is the master secret of TLS 1.2 for ECDHE_PSK (RFC 5489 section 2, RFC 4279 section 2), bound to session,
// the hash of all messages up to ClientKeyExchange (RFC 7627 section 4).
func Master12(shared, psk, session []byte) []byte {
	premaster := make([]byte, 0, 2+len(shared)+2+len(psk))
	premaster = binary.BigEndian.AppendUint16(premaster, uint16(len(shared)))
	premaster = append(premaster, shared...)
	premaster = binary.BigEndian.AppendUint16(premaster, uint16(len(psk)))
	premaster = append(premaster, psk...)
	defer clear(premaster)
	master := make([]byte, masterLen)
	prf(master, premaster, "extended master secret", session)
	return master
}

// Keys12 are the keys and IVs of both directions (RFC 5246 section 6.3).
type Keys12 struct {
	ClientKey, ServerKey, ClientIV, ServerIV []byte
}

// Expand12 derives the keys from the master secret.
func Expand12(master, clientRandom, serverRandom []byte, keyLen, ivLen int) Keys12 {
	block := make([]byte, 2*keyLen+2*ivLen)
	prf(block, master, "key expansion", serverRandom, clientRandom)
	cut := func(n int) []byte {
		piece := block[:n:n]
		block = block[n:]
		return piece
	}
	return Keys12{ClientKey: cut(keyLen), ServerKey: cut(keyLen), ClientIV: cut(ivLen), ServerIV: cut(ivLen)}
}

// Wipe overwrites the keys.
func (k Keys12) Wipe() {
	for _, b := range [][]byte{k.ClientKey, k.ServerKey, k.ClientIV, k.ServerIV} {
		clear(b)
	}
}

// The labels of RFC 5246 section 7.4.9.
const (
	ClientFinished = "client finished"
	ServerFinished = "server finished"
)

// Finished12 is the verify_data of RFC 5246 section 7.4.9.
func Finished12(master []byte, label string, transcript []byte) []byte {
	verify := make([]byte, verifyLen)
	prf(verify, master, label, transcript)
	return verify
}

// reserved are the labels that TLS itself uses with the master secret; exported under one of them, a key would be one
// of ours.
var reserved = []string{ClientFinished, ServerFinished, "master secret", "extended master secret", "key expansion"}

// Export12 is the exporter of RFC 5705 section 4, in which no context differs from an empty one.
func Export12(master []byte, label string, context []byte, clientRandom, serverRandom []byte, n int) ([]byte, error) {
	if n < 1 || n > maxExport || len(context) > math.MaxUint16 || slices.Contains(reserved, label) {
		return nil, ErrExport
	}
	seeds := [][]byte{clientRandom, serverRandom}
	if context != nil {
		seeds = append(seeds, binary.BigEndian.AppendUint16(nil, uint16(len(context))), context)
	}
	out := make([]byte, n)
	prf(out, master, label, seeds...)
	return out, nil
}
