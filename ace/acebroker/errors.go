package acebroker

import "errors"

// What can be wrong with a token, in the order in which it is checked (RFC 9431, section 2.2.5; RFC 9200, section
// 5.10.1.1). The peer is told none of them, only that it is not authorized; the audit log is.
var (
	// ErrMalformed: the bytes are no access token, or its claims are not of their types.
	ErrMalformed = errors.New("acebroker: malformed token")
	// ErrWrapper: no key of an issuer verifies or decrypts the token with an algorithm of the list.
	ErrWrapper = errors.New("acebroker: token is not by an issuer of this broker")
	// ErrUnreachable: the Authorization Server had to be asked and did not answer.
	ErrUnreachable = errors.New("acebroker: authorization server did not answer")
	// ErrInactive: the Authorization Server says that the token is not active.
	ErrInactive = errors.New("acebroker: token is not active")
	// ErrIssuer: iss is not the issuer whose key the token is under.
	ErrIssuer = errors.New("acebroker: token names another issuer")
	// ErrExpired: exp is past, or there is neither exp nor exi.
	ErrExpired = errors.New("acebroker: token expired")
	// ErrNotYet: nbf or iat is in the future.
	ErrNotYet = errors.New("acebroker: token not valid yet")
	// ErrAudience: aud does not name this broker.
	ErrAudience = errors.New("acebroker: token is for another audience")
	// ErrScope: the scope is not understood.
	ErrScope = errors.New("acebroker: scope not understood")
	// ErrCNonce: the token is to contain a recent cnonce of this broker and does not.
	ErrCNonce = errors.New("acebroker: token without a recent cnonce")
	// ErrProfile: ace_profile is not mqtt_tls.
	ErrProfile = errors.New("acebroker: token is for another profile")
	// ErrKey: cnf is missing or does not resolve to exactly one key, or shows a secret that is not encrypted.
	ErrKey = errors.New("acebroker: token without a usable proof-of-possession key")
	// ErrRevoked: the token was revoked here.
	ErrRevoked = errors.New("acebroker: token revoked")
	// ErrProof: the client did not prove that it has the token's key.
	ErrProof = errors.New("acebroker: proof of possession failed")
)
