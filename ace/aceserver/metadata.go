package aceserver

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

// The methods of client authentication by their registered names (RFC 7591, section 2; RFC 8705, section 2).
const (
	methodBasic      = "client_secret_basic"
	methodPost       = "client_secret_post"
	methodTLS        = "tls_client_auth"
	methodSelfSigned = "self_signed_tls_client_auth"
)

// describe makes the server's metadata (RFC 8414, section 2).
func (s *Server) describe() ([]byte, error) {
	methods := []string{methodBasic, methodPost, methodSelfSigned}
	if s.roots != nil {
		methods = append(methods, methodTLS)
	}
	return json.Marshal(map[string]any{
		"issuer":                                        s.issuer,
		"token_endpoint":                                s.issuer + "/token",
		"introspection_endpoint":                        s.issuer + "/introspect",
		"revocation_endpoint":                           s.issuer + "/revoke",
		"registration_endpoint":                         s.issuer + "/register",
		"jwks_uri":                                      s.issuer + "/jwks",
		"grant_types_supported":                         []string{"client_credentials"},
		"response_types_supported":                      []string{},
		"token_endpoint_auth_methods_supported":         methods,
		"introspection_endpoint_auth_methods_supported": methods,
		"revocation_endpoint_auth_methods_supported":    methods,
	})
}

// serveMetadata answers with the server's metadata (RFC 8414, section 3).
func (s *Server) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	sendPublic(w, claims.TypeJSON, s.metadata)
}

// serveKeys answers with the JWK Set (RFC 7517, section 5).
func (s *Server) serveKeys(w http.ResponseWriter, _ *http.Request) {
	sendPublic(w, "application/jwk-set+json", s.keys.Load().set)
}

// sendPublic writes what everybody may know and keep for a while.
func sendPublic(w http.ResponseWriter, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a peer that is gone does not want to know
}
