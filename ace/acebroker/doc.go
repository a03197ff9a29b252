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
// # Requirements
//
// What RFC 9431 and RFC 9200 ask of a broker, and the test that proves it, here, in guard or end to end. "none" has
// none, for the reason that follows; those of the client and of the Authorization Server are in ace and aceserver.
//
//	S-1   TestTokenForms                     scope in base64url and CBOR; not understood: TestTokenScope
//	S-2   TestIntrospection                  the same encoding in introspection
//	S-3   TestTokenScope                     an empty scope, none, and one not understood
//	S-4   TestScopeSingleEntry               one entry for PUBLISH; one single one for SUBSCRIBE
//	S-5   TestScopeAgainstTopic              containment, "$" and "$share"; attacks: TestScopeAttacks
//	S-6   TestScopeIsLiteralAboutStars       "*" is not a wildcard of MQTT
//	S-7   none                               what the broker announces passes as it is
//	T-1   TestExporterProof                  TLS 1.2 with Extended Master Secret, 1.3, ALPN; older: TestOldTLS
//	T-2   TestT2TokenAsIdentity              the key of a token as TLS's pre-shared key; TestZ3UploadedTokenAsKeyID
//	T-3   none                               raw public keys (RFC 7250): crypto/tls does not have them
//	Z-1   TestAuthzInfo                      a token on authz-info, without authentication
//	Z-2   TestPublishReserved                no subscription; not forwarded: TestReservedIsNotForScopes
//	Z-3   TestAuthzInfo                      validated before it is stored; bounded: TestAuthzInfoFlood
//	Z-4   TestAuthzInfo                      the reasons, by QoS
//	Z-5   TestAuthzInfo                      success; rates: TestAuthzInfoFlood
//	Z-6   TestAuthzInfoUpdates               a live connection with the same key, forwards only
//	M-1   TestExporterProof                  the exporter; TestChallengeProof, and malformed: TestConnectRefused
//	M-2   TestChallengeRefused               nothing but AUTH before CONNACK
//	M-3   TestExporterProof                  HMAC and Ed25519; ES256: TestMatrix; TestVectors
//	M-4   TestChallengeProof                 fresh nonces, used once: TestChallengeRefused
//	M-5   TestExporterProof                  an empty context, in TLS 1.2 as well
//	M-6   TestExporterOfAResumedSession      the exporter of a resumed session is refused
//	M-7   TestBehindTLSProxy                 without the exporter the challenge is left
//	M-8   TestExporterProof                  success names the method; another one: TestConnectRefused
//	M-9   TestAuthzInfo                      CONNECT without a token that is stored; TestAuthzInfoSquatter
//	M-10  TestHint                           the hint, where it fits
//	M-11  TestTokenCNonce                    a nonce that is fresh; by the hint: TestHint
//	M-12  TestWillAuthorised                 the Will; TestConnectRefused
//	E-1   TestTokenSingleFlight              valid tokens are remembered; by introspection: TestIntrospection
//	E-2   TestExpiryIsCheckedOnEveryPacket   every packet, and one timer: TestExpiryCutsOff
//	E-3   TestRetainedExpiryV5               retained messages; TestRetainedExpiryV3
//	E-4   TestWillIsPublishedAfterExpiry     the Will; TestRetainedOfAWill
//	E-5   TestSessionThatIsNotCovered        sessions that go on; whose they are: TestTakeoverByAStranger
//	E-6   TestLiveReferenceToken             the token is kept during the connection, and after it: TestAuthzInfo
//	R-1   TestReauthentication               by AUTH and challenge
//	R-2   TestReauthenticationRefused        DISCONNECT 0x87; until then TestReauthenticationWhileMessagesFlow
//	R-3   TestReauthentication               another key, not another subject; subscriptions: TestRenewNarrower
//	R-4   none                               when to renew is the client's business
//	R-5   none                               MQTT 3.1.1 connects again: TestMatrix
//	V-1   TestUserName                       User Name and Password
//	V-2   TestUserName                       a token in base64url, and a JWT as it is
//	V-3   TestConnectRefused                 return codes alone
//
// Retained messages end with their publisher's token: on v5 by the Message Expiry Interval, on 3.1.1 because the
// listener withholds them afterwards. A Will is published although the token has expired meanwhile. MQTT 3.1 is
// refused (RFC 9431 speaks of 3.1.1), and so is the password grant of a bearer token: every token needs a key.
package acebroker
