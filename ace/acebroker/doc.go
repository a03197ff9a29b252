// Package acebroker puts the broker's half of ACE for MQTT (RFC 9431) in front of any MQTT broker that takes a
// net.Listener: only clients with a valid access token, and with the key that the token is bound to, reach the
// broker, and they can publish, subscribe and receive there what the token's scope says, until it expires.
//
//	inner, err := net.Listen("tcp", ":8883")
//	listener, err := acebroker.NewListener(inner, acebroker.Config{
//		TLS:        &tls.Config{Certificates: []tls.Certificate{certificate}},
//		Algorithms: []acebroker.Algorithm{acebroker.EdDSA},
//		Issuers:    []acebroker.Issuer{{Name: "https://as.example.com", Keys: keys}}, // from NewJWKS, say
//		Audience:   []string{"mqtts://broker.example.com"},
//	})
//	for {
//		conn, err := listener.Accept() // begins with a plain CONNECT
//		...
//	}
//
// # Protected, and from whom
//
// From clients: a token that is stolen is of no use without its key; a proof of possession is of no use on another
// connection; a token for another broker is refused; nobody does more than the scope says, or for longer. From an
// attacker on the network TLS protects, which the clients must verify. A broker process behind this listener is
// trusted, as is the Authorization Server.
//
// Not protected: payloads from the broker (seal them), availability beyond the bounds of Config, and topics that
// Config.Public opens.
//
// # How clients authenticate
//
// On v5 a CONNECT with the authentication method "ace" has the token with a MAC or signature over the exporter of the
// TLS session, or the token alone, and then answers a challenge. On 3.1.1, and on v5 for clients that want it so, the
// User Name carries the token and the Password the proof over the exporter. A proof over the exporter of a resumed
// TLS session is refused, since it might have been made before; such a client uses the challenge. On v5 a client
// brings a new token by AUTH on the same connection; on 3.1.1 it connects again.
//
// Tokens are JWTs (signed; encrypted with a shared key; signed, then encrypted), CWTs (COSE_Sign1, COSE_Encrypt0, one
// in the other; as bytes or in base64url), or references about which the Authorization Server is asked. A secret key
// in a token must be encrypted. They are validated in the order of RFC 9431, section 2.2.5, and RFC 9200, section
// 5.10.1.1; what is valid is remembered by its SHA-256 until it expires, and the Authorization Server's word for at
// most Introspection.CacheFor. When it cannot be asked, the answer is no.
//
// # What of RFC 9431 is here
//
// Each requirement, by the tests' ids and sections of RFC 9431, and what is not here:
//
//	S-1..S-7   2.3      scope: AIF in base64url and CBOR, one single entry for a subscription, "$" and "$share"
//	T-1        2.2.1    TLS 1.2 with Extended Master Secret, 1.3; ALPN "mqtt"
//	T-2, T-3   2.2.1    TLS:Known: not here; pre-shared keys are tlspsk's, raw public keys crypto/tls has none
//	Z-1..Z-6   2.2.2    authz-info, and tokens that are stored
//	M-1..M-12  2.2.4    authentication on v5: exporter, challenge, discovery, hints, the Will
//	E-1..E-6   3        PUBLISH, SUBSCRIBE, delivery, expiry, retained messages, sessions
//	R-1..R-5   4        re-authentication on v5
//	V-1..V-3   6        MQTT 3.1.1
//
// Retained messages end with their publisher's token: on v5 by the Message Expiry Interval, on 3.1.1 because the
// listener withholds them afterwards. A Will is published although the token has expired meanwhile. MQTT 3.1 is
// refused (RFC 9431 speaks of 3.1.1), and so is the password grant of a bearer token: every token needs a key.
package acebroker
