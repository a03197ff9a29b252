// Package aceserver is an Authorization Server for MQTT brokers: the AS of ACE (RFC 9200) for its MQTT and TLS profile
// (RFC 9431), as an [http.Handler]. A client shows who it is and gets a short-lived access token for one broker that is
// bound to a key and says which topics the client may publish and subscribe to.
//
// [New] makes a [Server] from a [Config]. The program around it owns the http.Server, with its TLS configuration,
// timeouts and shutdown:
//
//   - To let clients authenticate by certificate, or bind tokens to the key of one, ask for it:
//     tls.Config.ClientAuth = tls.RequestClientCert. The Server itself judges certificates.
//   - Set ReadHeaderTimeout and ReadTimeout to some seconds. Bodies are bounded here, time is not.
//
// The endpoints, below the issuer's URL:
//
//	POST /token       tokens (RFC 9200, section 5.8), grant type client_credentials
//	POST /introspect  what a token says (RFC 7662; RFC 9200, section 5.9), for brokers
//	POST /revoke      end a token (RFC 7009), for its client
//	POST /register    become a client (RFC 7591), with an initial access token of [Server.Invite]
//	GET  /jwks        the keys that tokens are verified with (RFC 7517)
//	GET  /.well-known/oauth-authorization-server  all of this for programs (RFC 8414)
//
// The first three take application/ace+json, application/json, application/ace+cbor and forms, and answer in the same
// family or as Accept says; a form is answered in JSON. In JSON "scope" is a string, the base64url of the array of RFC
// 9431, section 2.3; a request may also hold the array itself.
//
// # What it promises
//
//   - A client gets at most what policies allow it, a scope entry by entry; what it asks for beyond is refused as
//     invalid_scope, not cut down.
//   - Tokens are bound to a key that this server has made for client and broker, or that the client has proven to
//     have. A symmetric key is never in a token that others than the broker can read.
//   - Secrets of clients are stored as salted hashes, tokens as hashes. An unknown client is treated as one with a
//     wrong secret.
//   - Everything that a peer can make grow is bounded: bodies, names, rates, and what is stored about tokens, which
//     is removed after they expire.
//   - What was acknowledged, a registration or a revocation, survives the death of the process with
//     [store.OpenFile].
//
// Not protected: a token that has been revoked is still taken by brokers that do not introspect until it expires; keep
// lifetimes short. Whoever reads the store's file, or the server's memory, can use tokens with symmetric keys until
// they expire. The rate limits are per process.
//
// # Requirements
//
// What RFC 9431 and RFC 9200 ask of an Authorization Server (A) and of what it gets from clients (C, S), and the test
// that proves it. An asymmetric key is in a token itself, without a kid that its holder has chosen; A-8 holds for it
// as the thumbprint or kid in req_cnf. CBOR errors are those of RFC 9200, not the problem details that a draft
// replaces them with.
//
//	A-1   TestScopeIsGrantedOrRefused             client, audience and scope are checked; a fresh key
//	A-2   TestPossessionIsVerified                a key in req_cnf is the TLS certificate's or registered
//	A-3   TestSecretIsNotReadable                 with a symmetric key: JWS in JWE, COSE_Encrypt0
//	A-4   TestMatrixOfFormatsAndKeys              a token with a public key is signed and names that key
//	A-5   TestSymmetricKeyIsMadeForClientAndBroker the claims; cnonce: TestRequestParameters
//	A-6   TestSequenceNumbersGrow                 with exi, the ID is audience and sequence number
//	A-7   TestBrokerKeyIsTold                     rs_cnf, if Audience.Key is set
//	A-8   TestRightsAreUpdatedOnTheSameKey        req_cnf with the kid of an earlier token
//	A-9   TestErrorsInBothFamilies                all errors in JSON and CBOR
//	A-10  TestGroupHasNoSymmetricKey              no symmetric key for a group
//	A-11  TestIntrospection                       introspection; who may ask: TestIntrospectionIsForResourceServers
//	C-1   TestAuthenticationMethods               clients authenticate; only by HTTPS: TestPlaintextIsRefused
//	C-2   TestContentTypes                        all content types, answered in the same family or by Accept
//	C-3   TestRequestParameters                   the parameters of a request
//	C-4   TestPossessionIsVerified                a symmetric key is not taken from a client
//	C-5   TestErrorsInBothFamilies                there are no refresh tokens
//	S-1   TestScopeClaim                          the scope in tokens; in ace/internal/claims
//	S-2   TestContentTypes                        the same encoding in requests and responses
//	S-4   TestScopeIsCoveredEntryByEntry          one single entry covers
package aceserver
