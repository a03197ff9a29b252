// Package tlspsk is TLS with a pre-shared key: mutual authentication and forward secrecy without certificates, for
// brokers that know a device by a name and a key. Mosquitto (psk_file) and EMQX do; crypto/tls does not.
//
// For MQTT, [New] makes a scheme that wraps the options of a client: its mqtts:// and wss:// connections then use the
// key. For everything else there are [Client], [Server], [Dial] and [NewListener] as in crypto/tls. [LoadKeys] reads a
// file of keys in mosquitto's format.
//
// What it speaks: TLS 1.3 (RFC 8446) with an external PSK and psk_dhe_ke, and TLS 1.2 (RFC 5246) with ECDHE_PSK (RFC
// 5489), AEAD suites and the extended master secret (RFC 7627); X25519 and P-256. What it leaves out on purpose:
// certificates, signatures, PSK without an ephemeral key exchange, early data, session tickets and resumption,
// renegotiation, compression, CBC.
//
// # What is protected
//
// From whoever is between the two ends: what is written, against reading, changing, replaying, reordering and cutting
// off; keys of old connections, also against somebody who learns the pre-shared key later. Each end knows that the
// other has the key.
//
// Not protected: the identity and the server name, which go over the network in the clear, and how much is sent when. A
// peer that shares the key with others cannot be told from them: give each pair of client and server a key of its own,
// and each end one role (RFC 9257 section 4.1). A weak key can be guessed by whoever plays the server once; see
// [CheckKey]. A key is used with TLS 1.2 and TLS 1.3 alike unless MinVersion or MaxVersion says otherwise; no attack on
// that is known, little analysis has been done (RFC 8446 appendix E.7). Keys lie in the memory of the process; what of
// them the standard library leaves within reach is overwritten after use.
package tlspsk
