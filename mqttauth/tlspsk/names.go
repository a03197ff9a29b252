package tlspsk

import (
	"crypto/ecdh"
	"fmt"
	"slices"

	"golang.org/x/sys/cpu"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
)

// Version is a version of the protocol, as it stands on the wire.
type Version uint16

// The versions of this package. What a peer offers below them is refused.
const (
	TLS12 Version = 0x0303
	TLS13 Version = 0x0304
)

// String returns the name of the version, "TLS 1.3".
func (v Version) String() string {
	switch v {
	case TLS12:
		return "TLS 1.2"
	case TLS13:
		return "TLS 1.3"
	}
	return fmt.Sprintf("version 0x%04X", uint16(v))
}

// CipherSuite is the number of a cipher suite in the IANA registry.
type CipherSuite uint16

// The cipher suites of this package. The first two are for TLS 1.3, the others for TLS 1.2 (RFC 7905, RFC 8442). All
// have forward secrecy, an AEAD with tags of 128 bits, and SHA-256, to which a PSK is bound.
const (
	TLS_AES_128_GCM_SHA256                      CipherSuite = 0x1301
	TLS_CHACHA20_POLY1305_SHA256                CipherSuite = 0x1303
	TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 CipherSuite = 0xCCAC
	TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256       CipherSuite = 0xD001
)

// String returns the name of the suite in the registry.
func (s CipherSuite) String() string {
	switch s {
	case TLS_AES_128_GCM_SHA256:
		return "TLS_AES_128_GCM_SHA256"
	case TLS_CHACHA20_POLY1305_SHA256:
		return "TLS_CHACHA20_POLY1305_SHA256"
	case TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256:
		return "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
	case TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256:
		return "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256"
	}
	return fmt.Sprintf("cipher suite 0x%04X", uint16(s))
}

func (s CipherSuite) aead() record.AEAD {
	switch s {
	case TLS_AES_128_GCM_SHA256, TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256:
		return record.AES128GCM
	}
	return record.ChaCha20Poly1305
}

// Suites in the order of preference, where AES has instructions and where it has not.
var (
	suites13AES      = []CipherSuite{TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256}
	suites13Portable = []CipherSuite{TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256}
	suites12AES      = []CipherSuite{TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256, TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256}
	suites12Portable = []CipherSuite{TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256}
)

func suitesOf(v Version) []CipherSuite {
	fast := cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || cpu.S390X.HasAESGCM
	switch {
	case v == TLS13 && fast:
		return suites13AES
	case v == TLS13:
		return suites13Portable
	case fast:
		return suites12AES
	}
	return suites12Portable
}

// Group is the number of a group for the key exchange in the IANA registry.
type Group uint16

// The groups of this package, the preferred one first.
const (
	X25519 Group = 29
	P256   Group = 23
)

// String returns the name of the group.
func (g Group) String() string {
	switch g {
	case X25519:
		return "X25519"
	case P256:
		return "P-256"
	}
	return fmt.Sprintf("group %d", uint16(g))
}

func (g Group) curve() ecdh.Curve {
	if g == P256 {
		return ecdh.P256()
	}
	return ecdh.X25519()
}

var groupsByPreference = []Group{X25519, P256}

// numbers turns a list of names of this package into what stands in a message.
func numbers[T ~uint16](list []T) []uint16 {
	out := make([]uint16, len(list))
	for i, v := range list {
		out[i] = uint16(v)
	}
	return out
}

// firstCommon returns the first of the peer's list that is in ours.
func firstCommon[T ~uint16](theirs []uint16, ours []T) (T, bool) {
	for _, v := range theirs {
		if slices.Contains(ours, T(v)) {
			return T(v), true
		}
	}
	return 0, false
}

// agree computes the shared secret with the peer's key share.
func agree(private *ecdh.PrivateKey, peer []byte) ([]byte, error) {
	public, err := private.Curve().NewPublicKey(peer)
	if err != nil {
		return nil, refuse(alertIllegalParameter, "key share: %w", err)
	}
	shared, err := private.ECDH(public)
	if err != nil {
		return nil, refuse(alertIllegalParameter, "key share: %w", err) // of low order, RFC 7748 section 6.1
	}
	return shared, nil
}

func share(g Group, private *ecdh.PrivateKey) message.KeyShare {
	return message.KeyShare{Group: uint16(g), Key: private.PublicKey().Bytes()}
}
