package ace

import (
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Errors, for errors.Is. They reach the application through both Eclipse clients: as what autopaho tells OnConnectError
// and OnClientError, and as the error of paho.mqtt.golang's Connect token and ConnectionLost.
var (
	// ErrConfig is a mistake in a Config, or in the client options that are wrapped.
	ErrConfig = errors.New("ace: wrong configuration")
	// ErrInsecure is a connection that is not encrypted, or whose broker is not authenticated: tokens are not shown on
	// it.
	ErrInsecure = errors.New("ace: insecure connection")
	// ErrNoExporter is a TLS connection that gives no keying material for the proof: TLS 1.2 without Extended Master
	// Secret, renegotiation, a resumed session, or a WebSocket library that hides its connection. On MQTT v5 a
	// challenge takes its place; MQTT 3.1.1 has none.
	ErrNoExporter = errors.New("ace: no exporter on the TLS connection")
	// ErrToken is a token that cannot be used.
	ErrToken = errors.New("ace: unusable token")
	// ErrTokenExpired is a token that has expired, before the connection or during it: renewal had failed until then.
	ErrTokenExpired = errors.New("ace: the token has expired")
	// ErrRenewal ends an MQTT 3.1.1 connection that is still good, to open another with a new token. The client
	// connects again by itself.
	ErrRenewal = errors.New("ace: the connection ends to renew the token")
	// ErrChallenge is a broker that does not follow the protocol: a challenge that is not eight bytes or comes unasked,
	// or success without having challenged.
	ErrChallenge = errors.New("ace: bad challenge from the broker")
	// ErrBrokerKey is a broker that is not the one that the authorization server issued the token for.
	ErrBrokerKey = errors.New("ace: the broker's key is not the one that the authorization server named")
	// ErrUnreachable is an authorization server that does not answer: not resolved, no route, a certificate that is not
	// trusted, a timeout.
	ErrUnreachable = errors.New("ace: cannot reach the authorization server")
	// ErrResponse is an answer of the authorization server that is not one of RFC 9200, or lacks what this client must
	// have.
	ErrResponse = errors.New("ace: unusable response of the authorization server")
	// ErrScope is a message on a topic that the token's scope does not cover.
	ErrScope = errors.New("ace: the token's scope does not cover the topic")
	// ErrDiscovery is a broker that did not say where a token can be had, or a Config.Discover that did not allow to
	// ask there.
	ErrDiscovery = errors.New("ace: no authorization server discovered")
	// ErrKey is a key for the proof of possession that is of a wrong kind, or damaged.
	ErrKey = pop.ErrKey
)

var errHint = errors.New("ace: unusable hint of the broker")

// ASError is what an authorization server said instead of giving a token (RFC 6749, 5.2; RFC 9200, 5.8.3).
type ASError struct {
	// Status is the HTTP status.
	Status int
	// Code is the error code, such as "invalid_scope" or "unsupported_pop_key"; empty if the server gave none.
	Code string
	// Description is the server's text for the developer, cut at 512 bytes and free of control characters. It may be
	// empty.
	Description string
	// URI is a page about the error. It may be empty.
	URI string
}

// Error tells code and description.
func (e *ASError) Error() string {
	text := fmt.Sprintf("ace: the authorization server refused the request: %s", e.Code)
	if e.Code == "" {
		text = fmt.Sprintf("ace: the authorization server refused the request with HTTP status %d", e.Status)
	}
	if e.Description != "" {
		text += ": " + e.Description
	}
	return text + e.advice()
}

// advice is for the codes that a wrong configuration brings.
func (e *ASError) advice() string {
	switch e.Code {
	case "invalid_client":
		return " (check ClientID and ClientSecret, or the client certificate)"
	case "invalid_scope":
		return " (the client may not have the scope that it asks for)"
	case "unsupported_pop_key":
		return " (the server or the broker does not take this key; is its public half registered for the client?)"
	case "incompatible_ace_profiles":
		return " (the broker of this audience does not do RFC 9431)"
	case "invalid_target", "unauthorized_client":
		return " (check Audience: it names the broker as the server knows it)"
	}
	return ""
}

// NotAuthorizedError is a broker that refused the connection for its token.
type NotAuthorizedError struct {
	// Code is the Reason Code of CONNACK or, on MQTT 3.1.1, its return code: 5, or 4.
	Code byte
	// Reason is the Reason String, which may be empty.
	Reason string
	// Hint, if not nil, is where the broker says that a token can be had. It is not authenticated beyond TLS: see
	// Config.Discover.
	Hint *Hint
}

// Error tells the code, the broker's reason and what commonly is behind it.
func (e *NotAuthorizedError) Error() string {
	text := fmt.Sprintf("ace: the broker refused the token (code 0x%02X)", e.Code)
	if e.Code == wire.BadAuthenticationMethod {
		text = "ace: the broker does not know the authentication method (code 0x8C)"
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Code == wire.BadAuthenticationMethod {
		return text
	}
	text += ". It may be for another audience, not valid by the broker's clock, or of an authorization server that the broker does not trust"
	if h := e.Hint; h != nil && h.Audience != "" {
		text += fmt.Sprintf("; the broker names the audience %.100q", h.Audience)
	}
	return text
}
