package aceserver

import (
	"errors"
	"fmt"
	"net/http"
)

// The errors of RFC 6749, section 5.2, RFC 9200, section 5.8.3, and RFC 7591, section 3.2.2.
const (
	invalidRequest       = "invalid_request"
	invalidClient        = "invalid_client"
	unauthorizedClient   = "unauthorized_client"
	unsupportedGrantType = "unsupported_grant_type"
	invalidScope         = "invalid_scope"
	unsupportedPopKey    = "unsupported_pop_key"
	incompatibleProfiles = "incompatible_ace_profiles"
	invalidMetadata      = "invalid_client_metadata"
	invalidToken         = "invalid_token" // RFC 6750, section 3.1; the initial access token of a registration
)

// A refusal is an error that the peer is told.
type refusal struct {
	status      int
	code        string
	description string // without secrets, and without what the peer sent
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s", r.code, r.description) }

// refuse makes a refusal with the status that the code has in RFC 6749, section 5.2.
func refuse(code, format string, args ...any) *refusal {
	status := http.StatusBadRequest
	if code == invalidClient || code == invalidToken {
		status = http.StatusUnauthorized
	}
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// errUnauthenticated is the same for everybody, whether the client is known or not.
var errUnauthenticated = refuse(invalidClient, "client authentication failed")

// refusalOf is what the peer is told about an error of ours: nothing.
func refusalOf(err error) *refusal {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r
	}
	return &refusal{http.StatusInternalServerError, "server_error", "the server has failed"}
}
