package aceserver

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// maxBody bounds the body of a request in bytes.
const maxBody = claims.MaxSize

// family is one of the ways to write a request or a response.
type family string

const (
	aceJSON   family = claims.TypeACEJSON
	plainJSON family = claims.TypeJSON
	aceCBOR   family = claims.TypeACECBOR
	form      family = claims.TypeForm
)

// readBody returns the body of a request and its family.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, family, error) {
	unsupported := &refusal{http.StatusUnsupportedMediaType, invalidRequest, "the Content-Type is none that is understood here"}
	if len(r.Header.Values("Content-Type")) != 1 || r.Header.Get("Content-Encoding") != "" {
		return nil, "", unsupported
	}
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, "", unsupported
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return nil, "", unsupported
	}
	kind := family(mediaType)
	switch kind {
	case aceJSON, plainJSON, aceCBOR, form:
	default:
		return nil, "", unsupported
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, kind, &refusal{http.StatusRequestEntityTooLarge, invalidRequest, "the request is too large"}
	}
	if err != nil {
		return nil, kind, refuse(invalidRequest, "the request breaks off")
	}
	return body, kind, nil
}

// credentials are what a request says about who sends it, wherever it says so.
type credentials struct {
	id, secret string
	hasSecret  bool // in the body
}

// String shows no secret.
func (c credentials) String() string { return c.id }

// GoString is String.
func (c credentials) GoString() string { return c.id }

// tokenRequest is a request to the token endpoint (RFC 9200, section 5.8.1).
type tokenRequest struct {
	credentials
	grantType string
	audience  string
	scope     aif.Scope
	hasScope  bool
	reqCnf    claims.Confirmation // zero: none
	cnonce    []byte
	profile   bool // the client wants to hear of the profile
	refresh   bool // a refresh token came along
}

// tokenQuery is a request to the introspection or the revocation endpoint (RFC 7662, section 2.1; RFC 7009, section
// 2.1). What kind of token it might be does not matter here, so the hint is passed over.
type tokenQuery struct {
	credentials
	token []byte
}

// maxCNonce bounds the nonce that is copied into a token, in bytes.
const maxCNonce = 64

func parseTokenRequest(body []byte, kind family) (tokenRequest, error) {
	var q tokenRequest
	var err error
	switch kind {
	case aceCBOR:
		q, err = tokenRequestFromCBOR(body)
	case form:
		var o strict.Object
		if o, err = parseForm(body); err == nil {
			q, err = tokenRequestFromObject(o)
		}
	default:
		var o strict.Object
		if o, err = claims.ParseObject(body); err == nil {
			q, err = tokenRequestFromObject(o)
		}
	}
	if err != nil {
		return tokenRequest{}, told(err)
	}
	if len(q.cnonce) > maxCNonce {
		return tokenRequest{}, refuse(invalidRequest, "the cnonce is longer than %d bytes", maxCNonce)
	}
	if q.grantType == "" {
		q.grantType = "client_credentials" // RFC 9200, section 5.8.1
	}
	return q, nil
}

// told is what a peer hears about a request of its own that is not understood.
func told(err error) error {
	switch {
	case errors.As(err, new(*refusal)):
		return err
	case errors.Is(err, claims.ErrScope) || errors.Is(err, aif.ErrScope):
		return refuse(invalidScope, "the scope is none of AIF-MQTT (RFC 9431, section 2.3)")
	case errors.Is(err, claims.ErrConfirmation):
		return refuse(unsupportedPopKey, "req_cnf does not name one key of a kind that is known here")
	}
	return refuse(invalidRequest, "the body does not parse as what its Content-Type says, or a parameter is of another type")
}

// tokenRequestFromObject reads JSON, and forms too, whose parameters have become strings of JSON.
func tokenRequestFromObject(o strict.Object) (q tokenRequest, err error) {
	for name, to := range map[string]*string{"grant_type": &q.grantType, "audience": &q.audience, "client_id": &q.id, "client_secret": &q.secret} {
		if *to, err = o.Text(name); err != nil {
			return q, err
		}
	}
	_, q.hasSecret = o["client_secret"]
	_, q.refresh = o["refresh_token"]
	if q.cnonce, err = o.Bytes("cnonce"); err != nil {
		return q, err
	}
	if err := wantProfile(&q, o); err != nil {
		return q, err
	}
	if raw, ok := o["scope"]; ok {
		q.hasScope = true
		if q.scope, err = scopeFromJSON(raw); err != nil {
			return q, err
		}
	}
	if raw, ok := o["req_cnf"]; ok {
		var text string
		if json.Unmarshal(raw, &text) == nil { // as a form has it
			raw = json.RawMessage(text)
		}
		if q.reqCnf, err = claims.ParseConfirmationJSON(raw); err != nil {
			return q, err
		}
	}
	return q, nil
}

// wantProfile reads ace_profile, which a client sends without a value to hear which one it is (RFC 9200, section
// 5.8.4.3).
func wantProfile(q *tokenRequest, o strict.Object) error {
	raw, ok := o["ace_profile"]
	if !ok {
		return nil
	}
	q.profile = true
	if string(raw) == "null" {
		return nil
	}
	name, err := o.Text("ace_profile")
	if err != nil {
		return err
	}
	if name != "" && name != pop.Profile {
		return refuse(incompatibleProfiles, "the only profile here is %s", pop.Profile)
	}
	return nil
}

// scopeFromJSON reads a scope that is a string, as a token has it, or the array that is inside.
func scopeFromJSON(raw json.RawMessage) (scope aif.Scope, err error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return aif.Decode(text)
	}
	err = scope.UnmarshalJSON(raw)
	return scope, err
}

func tokenRequestFromCBOR(body []byte) (q tokenRequest, err error) {
	m, err := claims.ParseMap(body)
	if err != nil {
		return q, err
	}
	var secret []byte
	var grant int64 = 2 // client_credentials (RFC 9200, section 5.8.1)
	err = errors.Join(
		m.Read(claims.LabelAudience, &q.audience),
		m.Read(claims.LabelClientID, &q.id),
		m.Read(claims.LabelClientSecret, &secret),
		m.Read(claims.LabelGrantType, &grant),
		m.Read(claims.LabelCNonce, &q.cnonce),
	)
	if err != nil {
		return q, err
	}
	_, q.hasSecret = m[claims.LabelClientSecret]
	q.secret = string(secret)
	_, q.refresh = m[claims.LabelRefreshToken]
	q.grantType = claims.GrantTypes[grant]
	if q.grantType == "" {
		return q, refuse(unsupportedGrantType, "unknown grant type")
	}
	if raw, ok := m[claims.LabelProfile]; ok {
		const null = 0xf6
		q.profile = true
		var number int64
		if len(raw) != 1 || raw[0] != null {
			if err := m.Read(claims.LabelProfile, &number); err != nil {
				return q, err
			}
			if number != pop.ProfileCBOR {
				return q, refuse(incompatibleProfiles, "the only profile here is %s", pop.Profile)
			}
		}
	}
	if raw, ok := m[claims.LabelTokenScope]; ok {
		q.hasScope = true
		if q.scope, err = aif.DecodeClaim(raw); err != nil {
			return q, err
		}
	}
	if raw, ok := m[claims.LabelReqCnf]; ok {
		if q.reqCnf, err = claims.ParseConfirmationCBOR(raw); err != nil {
			return q, err
		}
	}
	return q, nil
}

func parseTokenQuery(body []byte, kind family) (q tokenQuery, err error) {
	if kind == aceCBOR {
		m, err := claims.ParseMap(body)
		if err != nil {
			return q, told(err)
		}
		var secret []byte
		err = errors.Join(
			m.Read(claims.LabelToken, &q.token),
			m.Read(claims.LabelClientID, &q.id),
			m.Read(claims.LabelClientSecret, &secret),
		)
		if err != nil {
			return q, told(err)
		}
		_, q.hasSecret = m[claims.LabelClientSecret]
		q.secret = string(secret)
	} else {
		o, err := claims.ParseObject(body)
		if kind == form {
			o, err = parseForm(body)
		}
		if err != nil {
			return q, told(err)
		}
		var token string
		for name, to := range map[string]*string{"token": &token, "client_id": &q.id, "client_secret": &q.secret} {
			if *to, err = o.Text(name); err != nil {
				return q, told(err)
			}
		}
		_, q.hasSecret = o["client_secret"]
		q.token = []byte(token)
	}
	if len(q.token) == 0 {
		return q, refuse(invalidRequest, "no token")
	}
	return q, nil
}

// parseForm reads a form as an object of strings. A parameter must not be repeated, and one without a value counts as
// not there (RFC 6749, section 3.2), but for ace_profile, which never has one.
func parseForm(body []byte) (strict.Object, error) {
	if !utf8.Valid(body) {
		return nil, claims.ErrMalformed
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, claims.ErrMalformed
	}
	o := strict.Object{}
	for name, list := range values {
		if len(list) > 1 {
			return nil, refuse(invalidRequest, "a parameter stands there twice")
		}
		if list[0] == "" && name != "ace_profile" {
			continue
		}
		if !utf8.ValidString(list[0]) {
			return nil, claims.ErrMalformed
		}
		text, err := json.Marshal(list[0])
		if err != nil {
			return nil, claims.ErrMalformed
		}
		o[name] = text
	}
	return o, nil
}
