package ace

import (
	"crypto"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// answer is what a token endpoint gave, whichever encoding it came in.
type answer struct {
	raw       []byte
	tokenType string // empty: not said
	expiresIn *int64 // seconds; nil: not said
	scope     func() (Scope, error)
	hasScope  bool
	profile   string // as in JSON; empty: not said

	secret []byte           // of "cnf", a symmetric key
	public crypto.PublicKey // of "cnf"
	keyID  []byte           // of "cnf"
	hasKey bool             // there was a "cnf"
	broker *BrokerKey       // of "rs_cnf"

	lifetime time.Duration // set by token
}

// answerJSON is an answer in JSON, of success or failure (RFC 9200, 5.8.2, 5.8.3).
type answerJSON struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   *int64          `json:"expires_in"`
	Scope       *string         `json:"scope"`
	Profile     *string         `json:"ace_profile"`
	Cnf         json.RawMessage `json:"cnf"`
	RsCnf       json.RawMessage `json:"rs_cnf"`

	Error       string `json:"error"`
	Description string `json:"error_description"`
	URI         string `json:"error_uri"`
}

// answerCBOR is answerJSON in CBOR (RFC 9200, table 5; RFC 9201, table 1).
type answerCBOR struct {
	AccessToken []byte          `cbor:"1,keyasint"`
	ExpiresIn   *int64          `cbor:"2,keyasint"`
	Cnf         cbor.RawMessage `cbor:"8,keyasint"`
	Scope       cbor.RawMessage `cbor:"9,keyasint"`
	Error       *int64          `cbor:"30,keyasint"`
	Description string          `cbor:"31,keyasint"`
	URI         string          `cbor:"32,keyasint"`
	TokenType   *int64          `cbor:"34,keyasint"`
	Profile     *int64          `cbor:"38,keyasint"`
	RsCnf       cbor.RawMessage `cbor:"41,keyasint"`
}

// errorCodes are those of CBOR (RFC 9200, table 3).
var errorCodes = map[int64]string{
	1: "invalid_request", 2: "invalid_client", 3: "invalid_grant", 4: "unauthorized_client",
	5: "unsupported_grant_type", 6: "invalid_scope", 7: "unsupported_pop_key", 8: "incompatible_ace_profiles",
}

// tokenTypes are those of CBOR (RFC 9200, table 4).
var tokenTypes = map[int64]string{1: "Bearer", 2: "PoP"}

// parseAnswer takes an answer apart. A refusal is an *ASError, also one that explains nothing.
func parseAnswer(status int, contentType string, body []byte) (*answer, error) {
	media, _, _ := mime.ParseMediaType(contentType)
	var a *answer
	var refusal *ASError
	var err error
	switch media {
	case typeJSON, "application/json":
		a, refusal, err = parseJSON(body)
	case typeCBOR, "application/cbor":
		a, refusal, err = parseCBOR(body)
	default:
		err = fmt.Errorf("%w: HTTP status %d with content of type %.100q; is this the token endpoint?", ErrResponse, status, contentType)
	}
	switch {
	case refusal != nil:
		refusal.Status = status
		refusal.Description = printable(refusal.Description)
		refusal.Code, refusal.URI = printable(refusal.Code), printable(refusal.URI)
		return nil, refusal
	case status != http.StatusOK:
		return nil, &ASError{Status: status}
	}
	return a, err
}

// printable makes a server's text fit for an error and a log.
func printable(s string) string {
	const longest = 512
	if len(s) > longest {
		s = s[:longest]
		for len(s) > 0 && !utf8.ValidString(s[len(s)-min(len(s), utf8.UTFMax):]) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrResponse}, args...)...)
}

func parseJSON(body []byte) (*answer, *ASError, error) {
	var m answerJSON
	if err := strict.Unmarshal(body, &m); err != nil {
		return nil, nil, malformed("not JSON of the expected shape") // without err, which may quote a secret
	}
	if m.Error != "" {
		return nil, &ASError{Code: m.Error, Description: m.Description, URI: m.URI}, nil
	}
	a := &answer{raw: []byte(m.AccessToken), tokenType: m.TokenType, expiresIn: m.ExpiresIn}
	if m.Scope != nil {
		a.hasScope, a.scope = true, func() (Scope, error) { return aif.Decode(*m.Scope) }
	}
	if m.Profile != nil {
		a.profile = *m.Profile
	}
	var err error
	if a.hasKey = m.Cnf != nil; a.hasKey {
		err = a.cnfJSON(m.Cnf)
	}
	if m.RsCnf != nil && err == nil {
		a.broker, err = rsCnfJSON(m.RsCnf)
	}
	return a, nil, err
}

func (a *answer) cnfJSON(raw json.RawMessage) error {
	var c confirmation
	if strict.Unmarshal(raw, &c) != nil || c.JWK == nil && c.KeyID == "" {
		return malformed(`"cnf" holds neither "jwk" nor "kid"`)
	}
	a.keyID = []byte(c.KeyID)
	if c.JWK == nil {
		return nil
	}
	key, err := pop.ParseJWK(c.JWK)
	if err == nil {
		_, err = key.Verifier() // is it meant for this?
	}
	if err != nil {
		return malformed(`"cnf": %w`, err)
	}
	a.keyID, a.secret, a.public = []byte(key.KeyID), key.Secret, key.Public
	return nil
}

func rsCnfJSON(raw json.RawMessage) (*BrokerKey, error) {
	var c confirmation
	if strict.Unmarshal(raw, &c) != nil {
		return nil, malformed(`"rs_cnf" is not an object`)
	}
	b := new(BrokerKey)
	if c.JWK != nil {
		key, err := pop.ParseJWK(c.JWK)
		if err != nil || key.Public == nil {
			return nil, malformed(`"rs_cnf" holds no public key`)
		}
		b.public = key.Public
	}
	if c.Thumbprint != "" {
		sum, err := decodeThumbprint(c.Thumbprint)
		if err != nil {
			return nil, err
		}
		b.thumbprint = sum
	}
	if c.JWK == nil && c.Thumbprint == "" { // it must be checked, so it must be understood
		return nil, malformed(`"rs_cnf" holds neither "jwk" nor "x5t#S256"`)
	}
	return b, nil
}

func parseCBOR(body []byte) (*answer, *ASError, error) {
	var m answerCBOR
	if err := cose.Decoding.Unmarshal(body, &m); err != nil {
		return nil, nil, malformed("not CBOR of the expected shape")
	}
	if m.Error != nil {
		code, ok := errorCodes[*m.Error]
		if !ok {
			code = fmt.Sprintf("error %d", *m.Error)
		}
		return nil, &ASError{Code: code, Description: m.Description, URI: m.URI}, nil
	}
	a := &answer{raw: m.AccessToken, expiresIn: m.ExpiresIn}
	if m.TokenType != nil {
		if a.tokenType = tokenTypes[*m.TokenType]; a.tokenType == "" {
			return nil, nil, malformed("token type %d", *m.TokenType)
		}
	}
	if m.Scope != nil {
		a.hasScope, a.scope = true, func() (Scope, error) { return scopeCBOR(m.Scope) }
	}
	if m.Profile != nil {
		if a.profile = pop.Profile; *m.Profile != pop.ProfileCBOR {
			a.profile = fmt.Sprint(*m.Profile)
		}
	}
	var err error
	if a.hasKey = m.Cnf != nil; a.hasKey {
		err = a.cnfCBOR(m.Cnf)
	}
	if m.RsCnf != nil && err == nil {
		a.broker, err = rsCnfCBOR(m.RsCnf)
	}
	return a, nil, err
}

// scopeCBOR reads a byte string with the CBOR form, or a text string with the form that JSON has.
func scopeCBOR(raw cbor.RawMessage) (Scope, error) {
	var text string
	if cose.Decoding.Unmarshal(raw, &text) == nil {
		return aif.Decode(text)
	}
	return aif.DecodeClaim(raw)
}

func (a *answer) cnfCBOR(raw cbor.RawMessage) error {
	var c confirmationCBOR
	if cose.Decoding.Unmarshal(raw, &c) != nil || c.Key == nil && c.KeyID == nil {
		return malformed(`"cnf" holds neither a COSE_Key nor a kid`)
	}
	a.keyID = c.KeyID
	if c.Key == nil {
		return nil
	}
	a.keyID = c.Key.ID
	if c.Key.Type != cose.Octets {
		var err error
		if a.public, err = c.Key.Public(); err != nil {
			return malformed(`"cnf": %w`, err)
		}
		return nil
	}
	if c.Key.Alg != 0 && c.Key.Alg != cose.HMAC256 || !c.Key.Allows(cose.OpMACCreate) && !c.Key.Allows(cose.OpMACVerify) {
		return malformed(`"cnf" holds a key that is not for HMAC-SHA-256`)
	}
	a.secret = c.Key.K
	return nil
}

func rsCnfCBOR(raw cbor.RawMessage) (*BrokerKey, error) {
	var c confirmationCBOR
	if cose.Decoding.Unmarshal(raw, &c) != nil || c.Key == nil {
		return nil, malformed(`"rs_cnf" holds no COSE_Key`)
	}
	public, err := c.Key.Public()
	if err != nil {
		return nil, malformed(`"rs_cnf": %w`, err)
	}
	return &BrokerKey{public: public}, nil
}

// maxLifetime bounds what a server may say, in seconds: a hundred years.
const maxLifetime = 100 * 365 * 24 * 3600

// token makes a Token of the answer; own is the client's own key, kept that of the last token if this one was asked for
// by its identifier.
func (a *answer) token(cfg *ASConfig, own, kept ProofKey) (Token, error) {
	if len(a.raw) == 0 {
		return Token{}, malformed("there is no access token in it")
	}
	switch {
	case a.expiresIn != nil && (*a.expiresIn <= 0 || *a.expiresIn > maxLifetime):
		return Token{}, malformed("the token lives for %d seconds", *a.expiresIn)
	case a.expiresIn != nil:
		a.lifetime = time.Duration(*a.expiresIn) * time.Second
	case cfg.Lifetime > 0:
		a.lifetime = cfg.Lifetime
	default:
		return Token{}, malformed("it does not say how long the token lives (ASConfig.Lifetime can)")
	}
	if cfg.Bearer {
		if !strings.EqualFold(a.tokenType, "Bearer") {
			return Token{}, malformed("the token is of type %.50q, not Bearer", a.tokenType)
		}
		return Token{Raw: a.raw}, nil
	}
	return a.proofToken(cfg, own, kept)
}

// proofToken is token for one that is bound to a key.
func (a *answer) proofToken(cfg *ASConfig, own, kept ProofKey) (Token, error) {
	switch {
	case a.tokenType != "" && !strings.EqualFold(a.tokenType, "PoP"):
		return Token{}, malformed("the token is of type %.50q, not PoP", a.tokenType)
	case a.profile == "":
		return Token{}, malformed("it does not name the profile, though it was asked to")
	case a.profile != pop.Profile:
		return Token{}, malformed("the profile is %.50q, not %s", a.profile, pop.Profile)
	}
	token := Token{Raw: a.raw, KeyID: string(a.keyID), Scope: cfg.Scope, Broker: a.broker}
	var err error
	if a.hasScope {
		if token.Scope, err = a.scope(); err != nil {
			return Token{}, malformed("%w", err)
		}
	}
	if token.Key, err = a.proofKey(own, kept); err != nil {
		return Token{}, err
	}
	if a.broker != nil && token.Key.Verifier().Symmetric() { // RFC 9201, 3.2
		return Token{}, malformed(`"rs_cnf" together with a symmetric key`)
	}
	return token, nil
}

// proofKey returns the key that the token is bound to.
func (a *answer) proofKey(own, kept ProofKey) (ProofKey, error) {
	if public := own.Verifier().Public(); public != nil {
		if a.secret != nil || a.public != nil && !equalKeys(a.public, public) {
			return ProofKey{}, malformed(`the token is bound to another key than the client's own`)
		}
		return own, nil
	}
	switch {
	case a.secret != nil:
		key, err := pop.Secret(a.secret)
		if err != nil {
			return ProofKey{}, malformed(`"cnf": %w`, err)
		}
		return key, nil
	case a.public != nil:
		return ProofKey{}, malformed("the token is bound to a public key that the client has no private key of; set ASConfig.Signer")
	case a.hasKey && kept.Verifier().Symmetric():
		return kept, nil
	}
	return ProofKey{}, malformed(`there is no key in it ("cnf")`)
}

// equalKeys compares public keys of any kind.
func equalKeys(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
