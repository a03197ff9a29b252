package aceserver

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/cose"
)

// answerIn chooses how to write the response: in the family of the request unless Accept does not have it and has
// another one of ours. A form is answered in JSON (RFC 6749, section 5.1).
func answerIn(r *http.Request, request family) family {
	if request == form || request == "" {
		request = plainJSON
	}
	accepted := accepts(r.Header.Values("Accept"))
	if len(accepted) == 0 {
		return request
	}
	for _, a := range accepted {
		if a == request || a == "*/*" || a == "application/*" {
			return request
		}
	}
	for _, a := range accepted {
		switch a {
		case aceJSON, plainJSON, aceCBOR:
			return a
		}
	}
	return request
}

// accepts lists the media types of an Accept header, without those of no quality.
func accepts(headers []string) (accepted []family) {
	for _, header := range headers {
		for _, item := range strings.Split(header, ",") {
			mediaType, parameters, err := mime.ParseMediaType(item)
			if err != nil {
				continue
			}
			if q, err := strconv.ParseFloat(parameters["q"], 64); err == nil && q == 0 {
				continue
			}
			accepted = append(accepted, family(mediaType))
		}
	}
	return accepted
}

// send writes a response that nobody may keep.
func send(w http.ResponseWriter, status int, kind family, body []byte) {
	h := w.Header()
	h.Set("Content-Type", string(kind))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749, section 5.1
	w.WriteHeader(status)
	_, _ = w.Write(body) // a peer that is gone does not want to know
}

// sendRefusal tells the peer no (RFC 6749, section 5.2; RFC 9200, section 5.8.3).
func sendRefusal(w http.ResponseWriter, r *refusal, kind family) {
	switch r.code {
	case invalidClient:
		w.Header().Set("WWW-Authenticate", `Basic realm="aceserver", charset="UTF-8"`)
	case invalidToken:
		w.Header().Set("WWW-Authenticate", `Bearer realm="aceserver", error="invalid_token"`)
	}
	if kind == aceCBOR {
		m := map[int64]any{claims.LabelErrorDescription: r.description}
		if number := claims.ErrorNumber(r.code); number != 0 {
			m[claims.LabelError] = number
		}
		body, err := cose.Encoding.Marshal(m)
		if err != nil {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
		send(w, r.status, kind, body)
		return
	}
	body, err := json.Marshal(map[string]string{"error": r.code, "error_description": r.description})
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	send(w, r.status, kind, body)
}

// sendBusy asks the peer to come back later (RFC 6585, section 4).
func sendBusy(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusTooManyRequests)
}

// tokenResponse is the answer to a tokenRequest (RFC 9200, section 5.8.2).
type tokenResponse struct {
	token     []byte // as MQTT carries it
	text      string // as JSON does
	expiresIn time.Duration
	scope     Scope
	cnf       claims.Confirmation // zero: the client knows
	rsCnf     *brokerConfirmation // nil: none
}

func (t tokenResponse) encode(kind family) ([]byte, error) {
	if kind == aceCBOR {
		return t.cbor()
	}
	scope, err := t.scope.Encode()
	if err != nil {
		return nil, fmt.Errorf("aceserver: %w", err)
	}
	m := map[string]any{
		"access_token": t.text,
		"token_type":   claims.PoP,
		"expires_in":   int64(t.expiresIn / time.Second),
		"scope":        scope,
		"ace_profile":  profileName,
	}
	if !t.cnf.IsZero() {
		cnf, err := t.cnf.JSON()
		if err != nil {
			return nil, err
		}
		m["cnf"] = json.RawMessage(cnf)
	}
	if t.rsCnf != nil {
		m["rs_cnf"] = json.RawMessage(t.rsCnf.json)
	}
	return json.Marshal(m)
}

func (t tokenResponse) cbor() ([]byte, error) {
	scope, err := t.scope.EncodeCBOR()
	if err != nil {
		return nil, fmt.Errorf("aceserver: %w", err)
	}
	m := map[int64]any{
		claims.LabelAccessToken:    t.token,
		claims.LabelTokenExpiresIn: int64(t.expiresIn / time.Second),
		claims.LabelTokenScope:     scope,
		claims.LabelTokenType:      claims.PoPNumber,
		claims.LabelProfile:        profileNumber,
	}
	if !t.cnf.IsZero() {
		if m[claims.LabelTokenCnf], err = rawCBOR(t.cnf); err != nil {
			return nil, err
		}
	}
	if t.rsCnf != nil && t.rsCnf.cbor != nil {
		m[claims.LabelRSCnf] = cbor.RawMessage(t.rsCnf.cbor)
	}
	return cose.Encoding.Marshal(m)
}

// rawCBOR is a confirmation as a value inside another map.
func rawCBOR(c claims.Confirmation) (cbor.RawMessage, error) {
	raw, err := c.CBOR()
	return raw, err
}
