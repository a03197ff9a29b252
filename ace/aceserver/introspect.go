package aceserver

import (
	"net/http"
	"slices"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// serveIntrospect is the introspection endpoint (RFC 7662; RFC 9200, section 5.9). A token that is not active, or not
// for an audience of the one who asks, gets the same answer as one that never was.
func (s *Server) serveIntrospect(x *exchange) (int, []byte, error) {
	q, err := parseTokenQuery(x.body, x.request)
	if err != nil {
		return 0, nil, err
	}
	resource, err := s.resource(x, q.credentials)
	if err != nil {
		return 0, nil, err
	}
	var answer claims.Introspection
	err = s.store.View(func(tx store.Tx) error {
		_, record, err := lookUp(tx, q.token)
		if err != nil || record == nil || record.Expires <= x.now.Unix() || !slices.Contains(resource.Audiences, record.Audience) {
			return err
		}
		answer.Active, answer.TokenType = true, claims.PoP
		answer.Set, err = claims.ParseJSON(record.Claims)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	s.log.InfoContext(x.r.Context(), "token introspected", "resource_server", resource.ID, "from", x.from,
		"active", answer.Active, "id", answer.ID, "client", answer.ClientID)
	body, err := answer.CBOR()
	if x.answer != aceCBOR {
		body, err = answer.JSON()
	}
	return http.StatusOK, body, err
}

// lookUp finds the record of a token that is given as MQTT carries it or as JSON does; hash is its key. Without a
// record it is nil.
func lookUp(tx store.Tx, token []byte) (hash string, record *tokenRecord, err error) {
	forms := [][]byte{token}
	if raw, err := strict.DecodeText(string(token)); err == nil { // a CWT in base64url
		forms = append(forms, raw)
	}
	for _, form := range forms {
		var r tokenRecord
		hash := hashOf(form)
		found, err := load(tx, bucketTokens, hash, &r)
		if err != nil {
			return "", nil, err
		}
		if found {
			return hash, &r, nil
		}
	}
	return "", nil, nil
}
