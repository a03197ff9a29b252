package ace

import (
	"encoding/base64"
	"encoding/json"
	"net/url"

	"github.com/fxamacker/cbor/v2"

	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// Media types (RFC 9431, 7.2; RFC 9200, 8.15).
const (
	typeJSON = "application/ace+json"
	typeCBOR = "application/ace+cbor"
	typeForm = "application/x-www-form-urlencoded"
)

// grantType is the only one (RFC 9200, 5.8.1), in JSON and in CBOR.
const (
	grantType     = "client_credentials"
	grantTypeCBOR = 2
)

// request is one for a token.
type request struct {
	cfg   *ASConfig
	key   ProofKey // of the client's own, or zero
	keyID []byte   // of an earlier symmetric key, or nil
}

// confirmation is "cnf", "req_cnf" and "rs_cnf" in JSON (RFC 7800, RFC 8705).
type confirmation struct {
	JWK        json.RawMessage `json:"jwk,omitempty"`
	KeyID      string          `json:"kid,omitempty"`
	Thumbprint string          `json:"x5t#S256,omitempty"`
}

// requestJSON is a token request in application/ace+json.
type requestJSON struct {
	GrantType    string        `json:"grant_type"`
	ClientID     string        `json:"client_id,omitempty"`
	ClientSecret string        `json:"client_secret,omitempty"`
	Audience     string        `json:"audience,omitempty"`
	Scope        string        `json:"scope,omitempty"`
	ReqCnf       *confirmation `json:"req_cnf,omitempty"`
	CNonce       string        `json:"cnonce,omitempty"`
	Profile      *string       `json:"ace_profile,omitempty"` // empty asks for it back
}

// confirmationCBOR is [confirmation] in CBOR (RFC 8747).
type confirmationCBOR struct {
	Key   *cose.Key `cbor:"1,keyasint,omitempty"`
	KeyID []byte    `cbor:"3,keyasint,omitempty"`
}

// requestCBOR is a token request in application/ace+cbor (RFC 9200, table 5; RFC 9201, table 1).
type requestCBOR struct {
	ReqCnf       *confirmationCBOR `cbor:"4,keyasint,omitempty"`
	Audience     string            `cbor:"5,keyasint,omitempty"`
	Scope        cbor.RawMessage   `cbor:"9,keyasint,omitempty"` // a byte string, or text in the server's own words
	ClientID     string            `cbor:"24,keyasint,omitempty"`
	ClientSecret []byte            `cbor:"25,keyasint,omitempty"`
	GrantType    int               `cbor:"33,keyasint"`
	Profile      cbor.RawMessage   `cbor:"38,keyasint,omitempty"` // null asks for it back
	CNonce       []byte            `cbor:"39,keyasint,omitempty"`
}

var cborNull = cbor.RawMessage{0xf6}

// encode returns the request's body and its two media types.
func (r *request) encode() (body []byte, contentType, accept string, err error) {
	switch r.cfg.Encoding {
	case CBOR:
		body, err = r.cbor()
		return body, typeCBOR, typeCBOR, err
	case Form:
		body, err = r.form()
		return body, typeForm, typeJSON + ", application/json", err
	default:
		body, err = r.json()
		return body, typeJSON, typeJSON + ", application/json", err
	}
}

// client returns how the client names itself among the parameters: not at all with HTTP Basic.
func (r *request) client() (id, secret string) {
	switch {
	case r.cfg.SecretInBody:
		return r.cfg.ClientID, r.cfg.ClientSecret
	case r.cfg.ClientSecret == "":
		return r.cfg.ClientID, "" // RFC 8705, 2
	}
	return "", ""
}

// parameters are what JSON and the form have in common.
func (r *request) parameters() (*requestJSON, error) {
	id, secret := r.client()
	p := &requestJSON{GrantType: grantType, ClientID: id, ClientSecret: secret, Audience: r.cfg.Audience, Scope: r.cfg.OAuthScope}
	if r.cfg.Bearer {
		return p, nil
	}
	p.Profile = new(string)
	var err error
	if r.cfg.Scope != nil {
		if p.Scope, err = r.cfg.Scope.Encode(); err != nil {
			return nil, err
		}
	}
	if r.cfg.CNonce != nil {
		p.CNonce = base64.RawURLEncoding.EncodeToString(r.cfg.CNonce)
	}
	p.ReqCnf, err = r.confirmation()
	return p, err
}

// confirmation names the key to bind the token to: the client's public one, or an earlier symmetric one by its
// identifier. The value of a symmetric key is never sent (RFC 9201, 3.1).
func (r *request) confirmation() (*confirmation, error) {
	v := r.key.Verifier()
	switch {
	case v.Public() != nil:
		jwk, err := pop.NewJWK(v, "").Encode()
		return &confirmation{JWK: jwk}, err
	case r.keyID != nil:
		return &confirmation{KeyID: string(r.keyID)}, nil
	}
	return nil, nil
}

func (r *request) json() ([]byte, error) {
	p, err := r.parameters()
	if err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

func (r *request) form() ([]byte, error) {
	p, err := r.parameters()
	if err != nil {
		return nil, err
	}
	values := url.Values{}
	for name, value := range map[string]string{
		"grant_type": p.GrantType, "client_id": p.ClientID, "client_secret": p.ClientSecret,
		"audience": p.Audience, "scope": p.Scope, "cnonce": p.CNonce,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if p.Profile != nil {
		values.Set("ace_profile", "")
	}
	if p.ReqCnf != nil {
		text, err := json.Marshal(p.ReqCnf)
		if err != nil {
			return nil, err
		}
		values.Set("req_cnf", string(text))
	}
	return []byte(values.Encode()), nil
}

func (r *request) cbor() ([]byte, error) {
	id, secret := r.client()
	p := requestCBOR{GrantType: grantTypeCBOR, ClientID: id, ClientSecret: []byte(secret), Audience: r.cfg.Audience}
	if r.cfg.Bearer {
		if r.cfg.OAuthScope != "" {
			p.Scope, _ = cose.Encoding.Marshal(r.cfg.OAuthScope) // a string always encodes
		}
		return cose.Encoding.Marshal(p)
	}
	p.Profile, p.CNonce = cborNull, r.cfg.CNonce
	if r.cfg.Scope != nil {
		scope, err := r.cfg.Scope.EncodeCBOR()
		if err != nil {
			return nil, err
		}
		if p.Scope, err = cose.Encoding.Marshal(scope); err != nil {
			return nil, err
		}
	}
	switch public := r.key.Verifier().Public(); {
	case public != nil:
		key, err := cose.PublicKey(public)
		if err != nil {
			return nil, err
		}
		p.ReqCnf = &confirmationCBOR{Key: &key}
	case r.keyID != nil:
		p.ReqCnf = &confirmationCBOR{KeyID: r.keyID}
	}
	return cose.Encoding.Marshal(p)
}
