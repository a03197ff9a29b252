package seal

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	hintLen      = 4
	signatureLen = hintLen + ed25519.SignatureSize
	signLabel    = "mqttsec v1 signature"
)

// signer signs what a Sealer seals.
type signer struct {
	crypto.Signer
	hint [hintLen]byte
}

func newSigner(s crypto.Signer) (*signer, error) {
	if s == nil {
		return nil, nil
	}
	if k, ok := s.(ed25519.PrivateKey); ok && len(k) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("mqttsec: Signer has %d bytes, not %d", len(k), ed25519.PrivateKeySize)
	}
	pub, ok := s.Public().(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, errors.New("mqttsec: Signer is not an Ed25519 key")
	}
	return &signer{Signer: s, hint: hintOf(pub)}, nil
}

// hintOf lets a receiver pick the public key instead of trying each.
func hintOf(pub ed25519.PublicKey) [hintLen]byte {
	sum := sha256.Sum256(pub)
	return [hintLen]byte(sum[:])
}

// sign fills prefix with the hint and the signature over header, topic and rest.
func (s *signer) sign(prefix, header []byte, topic string, rest []byte) error {
	sig, err := s.Sign(rand.Reader, signed(header, topic, rest), crypto.Hash(0))
	if err != nil {
		return fmt.Errorf("mqttsec: signing: %w", err)
	}
	if len(sig) != ed25519.SignatureSize {
		return errors.New("mqttsec: signing: not an Ed25519 signature")
	}
	copy(prefix, s.hint[:])
	copy(prefix[hintLen:], sig)
	return nil
}

// signed is the text that a signature covers.
func signed(header []byte, topic string, rest []byte) []byte {
	b := make([]byte, 0, len(signLabel)+len(header)+2+len(topic)+len(rest))
	b = append(b, signLabel...)
	b = append(b, header...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	return append(b, rest...)
}

// publishers are the keys whose signatures a receiver accepts, by hint.
type publishers map[[hintLen]byte][]publisher

// publisher is one of them, with a number from 1 by which package replay tells them apart.
type publisher struct {
	key    ed25519.PublicKey
	number uint32
}

func newPublishers(keys []ed25519.PublicKey) (publishers, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ps := make(publishers, len(keys))
	for i, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("mqttsec: Publishers[%d] has %d bytes, not %d", i, len(k), ed25519.PublicKeySize)
		}
		if smallOrder(k) {
			return nil, fmt.Errorf("mqttsec: Publishers[%d] is a public key of small order: anyone can sign for it", i)
		}
		h := hintOf(k)
		ps[h] = append(ps[h], publisher{bytes.Clone(k), uint32(i + 1)})
	}
	return ps, nil
}

// verify returns whose signature the plaintext bears. With publishers set, no
// signature or a stranger's is an error; without, it is nobody's.
func (ps publishers) verify(header []byte, topic string, plain []byte) (by ed25519.PublicKey, number uint32, err error) {
	if len(ps) == 0 {
		return nil, 0, nil
	}
	if header[flagsAt]&flagSigned == 0 {
		return nil, 0, ErrAuthentication
	}
	candidates := ps[[hintLen]byte(plain)]
	if len(candidates) == 0 {
		return nil, 0, ErrAuthentication
	}
	text := signed(header, topic, plain[signatureLen:])
	for _, p := range candidates {
		if ed25519.Verify(p.key, text, plain[hintLen:signatureLen]) {
			return p.key, p.number, nil
		}
	}
	return nil, 0, ErrAuthentication
}

// smallOrder recognises the public keys (an array left zero is one) for which
// signatures can be made without a private key, in each of their encodings.
func smallOrder(k ed25519.PublicKey) bool {
	y := hex.EncodeToString(append(bytes.Clone(k[:31]), k[31]&0x7F))
	switch y {
	case "0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f":
		return true
	}
	return false
}
