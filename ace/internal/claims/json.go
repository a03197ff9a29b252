package claims

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// JSON returns the claim set of a JSON Web Token. For a symmetric key it contains the secret: such a token must be
// encrypted (RFC 9431, section 2.1).
func (s Set) JSON() ([]byte, error) {
	m, err := s.jsonMembers()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func (s Set) jsonMembers() (map[string]any, error) {
	m := map[string]any{}
	for name, text := range map[string]string{"iss": s.Issuer, "sub": s.Subject, "jti": s.ID, "client_id": s.ClientID, "ace_profile": s.Profile} {
		if text != "" {
			m[name] = text
		}
	}
	for name, at := range map[string]time.Time{"exp": s.Expires, "nbf": s.NotBefore, "iat": s.IssuedAt} {
		if !at.IsZero() {
			m[name] = at.Unix()
		}
	}
	if s.ExpiresIn != 0 {
		m["exi"] = int64(s.ExpiresIn / time.Second)
	}
	if len(s.CNonce) > 0 {
		m["cnonce"] = strict.EncodeText(s.CNonce)
	}
	switch len(s.Audience) {
	case 0:
	case 1:
		m["aud"] = s.Audience[0]
	default:
		m["aud"] = s.Audience
	}
	if s.Scope != nil {
		scope, err := s.Scope.Encode()
		if err != nil {
			return nil, err
		}
		m["scope"] = scope
	}
	if !s.Confirmation.IsZero() {
		cnf, err := s.Confirmation.JSON()
		if err != nil {
			return nil, err
		}
		m["cnf"] = json.RawMessage(cnf)
	}
	return m, nil
}

// ParseObject reads a JSON object of at most [MaxSize] bytes.
func ParseObject(b []byte) (strict.Object, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	return strict.Parse(b)
}

// ParseJSON reads the claim set of a JSON Web Token.
func ParseJSON(b []byte) (Set, error) {
	o, err := ParseObject(b)
	if err != nil {
		return Set{}, err
	}
	return parseMembers(o)
}

func parseMembers(o strict.Object) (s Set, err error) {
	for _, m := range [...]struct {
		name string
		to   *string
	}{{"iss", &s.Issuer}, {"sub", &s.Subject}, {"jti", &s.ID}, {"client_id", &s.ClientID}, {"ace_profile", &s.Profile}} {
		if *m.to, err = o.Text(m.name); err != nil {
			return Set{}, err
		}
	}
	for _, m := range [...]struct {
		name string
		to   *time.Time
	}{{"exp", &s.Expires}, {"nbf", &s.NotBefore}, {"iat", &s.IssuedAt}} {
		seconds, ok, err := o.Number(m.name)
		if ok {
			*m.to, err = instant(seconds)
		}
		if err != nil {
			return Set{}, err
		}
	}
	seconds, ok, err := o.Number("exi")
	if ok {
		s.ExpiresIn, err = lifetime(seconds)
	}
	if err != nil {
		return Set{}, err
	}
	if s.CNonce, err = o.Bytes("cnonce"); err != nil {
		return Set{}, err
	}
	if s.Audience, err = audience(o["aud"]); err != nil {
		return Set{}, err
	}
	if _, ok := o["scope"]; ok {
		text, err := o.Text("scope")
		if err != nil {
			return Set{}, fmt.Errorf("%w: %w", ErrScope, err)
		}
		if s.Scope, err = aif.Decode(text); err != nil {
			return Set{}, fmt.Errorf("%w: %w", ErrScope, err)
		}
	}
	if raw, ok := o["cnf"]; ok {
		if s.Confirmation, err = ParseConfirmationJSON(raw); err != nil {
			return Set{}, err
		}
	}
	return s, nil
}

// audience reads aud, which is one name or a list (RFC 7519, section 4.1.3).
func audience(raw json.RawMessage) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	if one, err := (strict.Object{"aud": raw}).Text("aud"); err == nil {
		return []string{one}, nil
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf(`%w: "aud" is neither a string nor a list with a string`, ErrMalformed)
	}
	names := make([]string, len(list))
	for i, name := range list {
		if name == nil {
			return nil, fmt.Errorf(`%w: null in "aud"`, ErrMalformed)
		}
		names[i] = *name
	}
	return names, nil
}

// JSON returns the confirmation as the value of "cnf" or "req_cnf" (RFC 7800), with the secret of a symmetric key.
func (c Confirmation) JSON() ([]byte, error) {
	m := map[string]any{}
	switch {
	case c.Key.Algorithm() != "":
		jwk, err := pop.NewJWK(c.Key, c.ID).Encode()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfirmation, err)
		}
		m["jwk"] = json.RawMessage(jwk)
	case c.Encrypted != nil:
		m["jwe"] = string(c.Encrypted)
		fallthrough
	case c.ID != "":
		if c.ID != "" {
			m["kid"] = c.ID
		}
	default:
		return nil, fmt.Errorf("%w: no key", ErrConfirmation)
	}
	return json.Marshal(m)
}

// ParseConfirmationJSON reads "cnf" or "req_cnf". More than one key, or none that is known, is an [ErrConfirmation].
func ParseConfirmationJSON(b []byte) (c Confirmation, err error) {
	o, err := ParseObject(b)
	if err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	jwe, err := o.Text("jwe")
	if err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	if c.ID, err = o.Text("kid"); err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	raw, inClear := o["jwk"]
	switch {
	case inClear && jwe != "":
		return Confirmation{}, fmt.Errorf("%w: two keys", ErrConfirmation)
	case inClear:
		return parseJWK(raw, c.ID)
	case jwe != "":
		c.Encrypted = []byte(jwe)
	case c.ID == "":
		return Confirmation{}, fmt.Errorf("%w: no key that is known here", ErrConfirmation)
	}
	return c, nil
}

// parseJWK reads the key of a confirmation that has "kid" beside it, or not.
func parseJWK(raw json.RawMessage, beside string) (c Confirmation, err error) {
	o, err := ParseObject(raw) // which refuses repeated members
	if err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	if id, ok := named(o); ok && (beside == "" || beside == id) {
		return Confirmation{ID: id}, nil
	}
	jwk, err := pop.ParseJWK(raw)
	if err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	if c.Key, err = jwk.Verifier(); err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	switch c.ID = jwk.KeyID; {
	case c.ID == "":
		c.ID = beside
	case beside != "" && beside != c.ID:
		return Confirmation{}, fmt.Errorf("%w: two names for one key", ErrConfirmation)
	}
	return c, nil
}

// named returns the identifier of a symmetric key that the other side has already, and that is given by it alone
// (RFC 9202, section 3.3.2).
func named(o strict.Object) (id string, ok bool) {
	kty, err := o.Text("kty")
	if _, whole := o["k"]; whole || err != nil || kty != "oct" {
		return "", false
	}
	id, err = o.Text("kid")
	return id, err == nil && id != ""
}

// JSON returns the body of an introspection response.
func (i Introspection) JSON() ([]byte, error) {
	if !i.Active {
		return []byte(`{"active":false}`), nil
	}
	m, err := i.jsonMembers()
	if err != nil {
		return nil, err
	}
	m["active"] = true
	if i.TokenType != "" {
		m["token_type"] = i.TokenType
	}
	return json.Marshal(m)
}

// ParseIntrospectionJSON reads the body of an introspection response. Without a member "active" it is malformed.
func ParseIntrospectionJSON(b []byte) (i Introspection, err error) {
	o, err := ParseObject(b)
	if err != nil {
		return Introspection{}, err
	}
	var active *bool
	if err := json.Unmarshal(o["active"], &active); err != nil || active == nil {
		return Introspection{}, fmt.Errorf(`%w: "active" is not true or false`, ErrMalformed)
	}
	if !*active {
		return Introspection{}, nil
	}
	i.Active = true
	if i.Set, err = parseMembers(o); err != nil {
		return Introspection{}, err
	}
	if i.TokenType, err = o.Text("token_type"); err != nil {
		return Introspection{}, err
	}
	return i, nil
}
