// Package ace connects an MQTT client with OAuth tokens that are bound to a key (RFC 9431, the MQTT and TLS profile of
// ACE): an authorization server issues a short-lived token, the broker checks it, and whoever has copied the token but
// not its key gets nowhere.
//
// Which function for which need:
//
//   - An application on paho.golang or paho.mqtt.golang makes a source of tokens with [NewAS], an [Authenticator] with
//     [New], wraps its client options once, with [Authenticator.Wrap] or [Authenticator.WrapV3], and stays as it is
//     otherwise.
//   - Any other MQTT library that takes a net.Conn gets one from [Authenticator.Conn].
//   - A program that gets its tokens from elsewhere implements [TokenSource], or has one token in a [Static].
//   - For brokers that want a bearer token (a JWT as password, or under an authentication method of their own, as those
//     of cloud providers have) there is [NewBearer], with the same renewal and without proof of possession.
//
// The client proves on each connection that it has the token's key: over keying material of the TLS connection, which
// binds the proof to it, or, on MQTT v5, over a challenge of the broker's where there is no such material, because the
// TLS session was resumed or Config.Challenge is set. Before four fifths of a token's lifetime are over another is
// fetched and shown: on v5 during the connection, which goes on; on MQTT 3.1.1 by a new connection, see
// [Authenticator.WrapV3].
//
// Tokens are shown only on TLS connections, version 1.2 with Extended Master Secret or 1.3, whose broker was verified.
// A connection of TLS with a pre-shared key counts. The server's answers are bounded and judged strictly; what the
// configuration lacks is an error in New, not at midnight.
//
// Not protected: what the client may do is for the broker to enforce (see package acebroker); the early refusal of
// Config.RefuseUncovered is a convenience. A proof over a challenge is not bound to the TLS connection: a broker that
// holds a certificate which the client trusts could pass it on to another. A token that is revoked is good until it
// expires for brokers that do not ask the server. Whoever reads the client's memory has its symmetric key; a Signer
// in hardware keeps a private one out of it. The audience and the rights in a token are not read by the client, to
// which it is opaque.
//
// # Requirements
//
// What RFC 9431, RFC 9200, RFC 9201 and RFC 9202 ask of a client, and the test that proves it. "none" has none, for the
// reason that follows; those of the broker and of the server are in acebroker and aceserver.
//
//	C-1   TestWrongASConfig              client and server authenticate each other; TestC1ClientCertificate
//	C-2   TestC2RequestInJSON            ace+json; TestC2RequestInCBOR, TestC2RequestAsForm
//	C-3   TestC3CNonceIsCopied           the parameters of a request
//	C-4   TestC4PublicKeyIsSent          and a symmetric key is not: TestC4SymmetricKeyIsNeverSent
//	C-5   none                           refresh tokens are not used: the client can always ask again
//	C-6   TestC6Answer                   what an answer holds; TestC6LifetimeMustBeKnown
//	C-7   TestAnswersThatMustNotBeUsed   profile and type; in CBOR TestAnswersInCBORThatMustNotBeUsed
//	C-8   TestAnswersThatMustNotBeUsed   the key fits its purpose; TestC8OwnKeyAndNoOther
//	C-9   TestC9BrokerKeyIsMatched       "rs_cnf"; TestC9BrokerKeyIsRead
//	C-10  TestC10DiscoveryIsDecidedByTheCaller the decision on a server
//	C-11  TestBothPahos                  a token from elsewhere
//	S-1   TestC2RequestInJSON            the scope in JSON, and in CBOR: TestC2RequestInCBOR
//	S-2   TestC2RequestInJSON            the same encoding in requests
//	S-3   TestScopeThatIsNotKnown        an empty scope; one not understood: TestS3NotUnderstood
//	S-4   TestS4AndS5                    what a scope covers
//	S-5   TestS4AndS5                    containment of filters
//	S-6   none                           "*" is not a wildcard of MQTT
//	S-7   TestPacketsPassUntouched       what the broker announces passes
//	T-1   TestT1UnencryptedConnection    a verified broker: TestT1BrokerThatIsNotVerified, TestT1OldTLS
//	T-2   TestT2PSK                      the identity and key of a token for TLS; its forms: TestT2Identity
//	T-3   none                           raw public keys (RFC 7250): crypto/tls does not have them
//	Z-1   TestZ1Upload                   a token on authz-info
//	Z-4   TestZ4UploadRefused            the broker's answer to it
//	M-1   TestM3ExporterProof            both forms in CONNECT; TestM4ChallengeProof
//	M-2   TestM2NothingBeforeConnack     and what AUTH must hold: TestBrokerThatMisbehaves
//	M-3   TestM3ExporterProof            MAC and signatures, byte by byte; TestProofIsTheVectors
//	M-4   TestM4ChallengeProof           nonces; of a wrong size: TestBrokerThatMisbehaves
//	M-5   TestM5NoExporter               the exporter; TestM5ExporterContextIsEmptyNotAbsent
//	M-6   TestM6ResumedSession           no exporter proof on a resumed session
//	M-7   TestM4ChallengeProof           the challenge behind a proxy that ends TLS
//	M-8   TestBrokerThatMisbehaves       success names the method; 0x8C: TestM10Refusal
//	M-9   TestM9StoredToken              CONNECT without a token that the broker has
//	M-10  TestM10Refusal                 refusals and hints
//	M-11  TestC10DiscoveryIsDecidedByTheCaller the nonce of a hint; TestC3CNonceIsCopied
//	M-12  TestM12UncoveredWill           a Will that the scope does not cover
//	R-1   TestR1ReauthenticationByteByByte re-authentication by challenge
//	R-2   TestR2BrokerRefusesRenewal     failure and success; TestBrokerThatMisbehavesInRenewal
//	R-3   TestRenewedTokenForAnotherBroker a new token is judged as the first
//	R-4   TestR4CacheRenewsAtFourFifths  when to renew; what if that fails: TestR4RenewalThatFails
//	R-5   TestR5CleanReconnect           MQTT 3.1.1 connects again
//	V-1   TestV1UserNameAndPassword      User Name and Password
//	V-2   TestV1UserNameAndPassword      the token is encoded, whatever it is; TestV2UsernameMayHoldPlainJWT
//	V-3   TestM10Refusal                 return codes alone; no challenge: TestM5NoExporter
//
// Server Name Indication is the dialer's, which sets it; the ALPN identifier "mqtt" (T-1, SHOULD) is the
// application's, in its tls.Config: a broker that has other protocols in its list would refuse it.
package ace
