// Package pop proves and verifies the possession of a key over MQTT, as the MQTT and TLS profile of ACE
// (RFC 9431) has it. It has both sides of each step, so that the client, the broker half and the tests of
// either speak of the same bytes:
//
//   - [Prover] is a key that its holder proves to have, [Verifier] what the other side checks a proof with:
//     HMAC-SHA-256 with a shared secret, Ed25519, or ECDSA with P-256.
//   - [ExporterInput] and [ChallengeInput] give the bytes that are proved, [AuthData], [Reply] and [Username]
//     the forms in which token and proof go into CONNECT and AUTH.
//   - [JWK] reads and writes keys as RFC 7517 has them, for "cnf", "req_cnf" and "rs_cnf".
//
// A proof is the bare MAC or signature (RFC 9431, 2.2.4.2), not a JWS or COSE structure. Its algorithm is the
// key's and never named by the peer.
//
// Not protected: a proof in the challenge form is bound to two nonces but not to the TLS connection, so a
// broker that a client is lured to could pass a challenge on. The exporter form has no such weakness.
package pop

import "errors"

// The names and sizes of RFC 9431. Where the RFC is silent, the comment says what is chosen.
const (
	// Method is the Authentication Method (2.2.4.2), also the first letters of the v3.1.1 User Name (6.1).
	Method = "ace"
	// ExporterLabel is what a TLS connection's keying material is exported under (2.2.4.2.1, 7.1).
	ExporterLabel = "EXPORTER-ACE-MQTT-Sign-Challenge"
	// ExporterSize is the length of that material in bytes.
	ExporterSize = 32
	// NonceSize is the length in bytes of the broker's nonce and of the client's (2.2.4.2.2).
	NonceSize = 8
	// AuthzTopic is where a client without a token's session publishes tokens (2.2.2).
	AuthzTopic = "authz-info"
	// HintProperty is the name of the User Property of CONNACK that says where to get a token (2.4.1).
	HintProperty = "ace_as_hint"
	// Profile is the profile's name in "ace_profile" of JSON (7.3).
	Profile = "mqtt_tls"
	// ProfileCBOR is the profile's number in "ace_profile" of CBOR (7.3).
	ProfileCBOR = 3
)

// Errors, for errors.Is.
var (
	// ErrKey is a key that is damaged, too short, of a kind that is not supported, or not usable here.
	ErrKey = errors.New("pop: unusable key")
	// ErrProof is a proof that the key does not verify.
	ErrProof = errors.New("pop: the proof of possession is wrong")
	// ErrMalformed is Authentication Data or a User Name that is not in the form of RFC 9431.
	ErrMalformed = errors.New("pop: malformed authentication data")
)
