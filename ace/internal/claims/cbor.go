package claims

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// A Map is a CBOR map by its integer labels, whose values have not been looked at yet. Other labels are dropped.
type Map map[int64]cbor.RawMessage

// ParseMap reads a CBOR map, within the bounds and the strictness of cose.Decoding.
func ParseMap(b []byte) (Map, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	var raw map[any]cbor.RawMessage
	if err := cose.Decoding.Unmarshal(b, &raw); err != nil || raw == nil {
		return nil, fmt.Errorf("%w: not a CBOR map", ErrMalformed)
	}
	m := Map{}
	for label, value := range raw {
		if label, ok := label.(int64); ok {
			m[label] = value
		}
	}
	return m, nil
}

// Read decodes the value at label into to, which it leaves alone if there is none. A value of another type is an error,
// null too.
func (m Map) Read(label int64, to any) error {
	raw, ok := m[label]
	if !ok {
		return nil
	}
	const null, undefined = 0xf6, 0xf7
	if len(raw) == 1 && (raw[0] == null || raw[0] == undefined) {
		return fmt.Errorf("%w: nothing at label %d", ErrMalformed, label)
	}
	if err := cose.Decoding.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%w: label %d is of another type", ErrMalformed, label)
	}
	return nil
}

// number returns the value at label; ok is false if there is none.
func (m Map) number(label int64) (n float64, ok bool, err error) {
	if _, ok := m[label]; !ok {
		return 0, false, nil
	}
	var value any
	if err := m.Read(label, &value); err != nil {
		return 0, false, err
	}
	switch value := value.(type) {
	case int64:
		return float64(value), true, nil
	case float64:
		return value, true, nil
	}
	return math.NaN(), false, fmt.Errorf("%w: label %d is not a number", ErrMalformed, label)
}

// CBOR returns the claim set of a CBOR Web Token. For a symmetric key it contains the secret: such a token must be
// encrypted (RFC 9202, section 3.3.1).
func (s Set) CBOR() ([]byte, error) {
	m, err := s.cborMembers()
	if err != nil {
		return nil, err
	}
	return cose.Encoding.Marshal(m)
}

func (s Set) cborMembers() (map[int64]any, error) {
	m := map[int64]any{}
	for label, text := range map[int64]string{LabelIssuer: s.Issuer, LabelSubject: s.Subject} {
		if text != "" {
			m[label] = text
		}
	}
	for label, b := range map[int64][]byte{LabelID: []byte(s.ID), LabelCNonce: s.CNonce} {
		if len(b) > 0 {
			m[label] = b
		}
	}
	for label, at := range map[int64]time.Time{LabelExpires: s.Expires, LabelNotBefore: s.NotBefore, LabelIssuedAt: s.IssuedAt} {
		if !at.IsZero() {
			m[label] = at.Unix()
		}
	}
	if s.ExpiresIn != 0 {
		m[LabelExi] = int64(s.ExpiresIn / time.Second)
	}
	switch len(s.Audience) {
	case 0:
	case 1:
		m[LabelAud] = s.Audience[0]
	default:
		m[LabelAud] = s.Audience
	}
	if s.Profile != "" {
		number, err := ProfileNumber(s.Profile)
		if err != nil {
			return nil, err
		}
		m[LabelProfile] = number
	}
	if s.Scope != nil {
		scope, err := s.Scope.EncodeCBOR()
		if err != nil {
			return nil, err
		}
		m[LabelScope] = scope
	}
	if !s.Confirmation.IsZero() {
		cnf, err := s.Confirmation.CBOR()
		if err != nil {
			return nil, err
		}
		m[LabelCnf] = cbor.RawMessage(cnf)
	}
	return m, nil
}

// ProfileNumber is the number in CBOR of a profile's name, or of its digits.
func ProfileNumber(name string) (int64, error) {
	if name == pop.Profile {
		return pop.ProfileCBOR, nil
	}
	number, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the profile %.20q has no number", ErrMalformed, name)
	}
	return number, nil
}

// ProfileName is the reverse of ProfileNumber.
func ProfileName(number int64) string {
	if number == pop.ProfileCBOR {
		return pop.Profile
	}
	return strconv.FormatInt(number, 10)
}

// ParseCBOR reads the claim set of a CBOR Web Token.
func ParseCBOR(b []byte) (Set, error) {
	m, err := ParseMap(b)
	if err != nil {
		return Set{}, err
	}
	return parseLabels(m)
}

func parseLabels(m Map) (s Set, err error) {
	var id []byte
	err = errors.Join(
		m.Read(LabelIssuer, &s.Issuer),
		m.Read(LabelSubject, &s.Subject),
		m.Read(LabelID, &id),
		m.Read(LabelCNonce, &s.CNonce),
	)
	if err != nil {
		return Set{}, err
	}
	s.ID = string(id)
	for label, to := range map[int64]*time.Time{LabelExpires: &s.Expires, LabelNotBefore: &s.NotBefore, LabelIssuedAt: &s.IssuedAt} {
		seconds, ok, err := m.number(label)
		if ok {
			*to, err = instant(seconds)
		}
		if err != nil {
			return Set{}, err
		}
	}
	seconds, ok, err := m.number(LabelExi)
	if ok {
		s.ExpiresIn, err = lifetime(seconds)
	}
	if err != nil {
		return Set{}, err
	}
	if _, ok := m[LabelProfile]; ok {
		var number int64
		if err := m.Read(LabelProfile, &number); err != nil {
			return Set{}, err
		}
		s.Profile = ProfileName(number)
	}
	if _, ok := m[LabelAud]; ok {
		var one string
		if m.Read(LabelAud, &one) == nil {
			s.Audience = []string{one}
		} else if err := m.Read(LabelAud, &s.Audience); err != nil {
			return Set{}, err
		} else if len(s.Audience) == 0 {
			return Set{}, fmt.Errorf("%w: aud names nobody", ErrMalformed)
		}
	}
	if raw, ok := m[LabelScope]; ok {
		if s.Scope, err = aif.DecodeClaim(raw); err != nil {
			return Set{}, fmt.Errorf("%w: %w", ErrScope, err)
		}
	}
	if raw, ok := m[LabelCnf]; ok {
		if s.Confirmation, err = ParseConfirmationCBOR(raw); err != nil {
			return Set{}, err
		}
	}
	return s, nil
}

// CBOR returns the confirmation as the value of "cnf" or "req_cnf" (RFC 8747), with the secret of a symmetric key.
func (c Confirmation) CBOR() ([]byte, error) {
	m := map[int64]any{}
	switch {
	case c.Key.Algorithm() != "":
		key, err := coseKey(c.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfirmation, err)
		}
		if c.ID != "" {
			key.ID = []byte(c.ID)
		}
		m[CnfKey] = key
	case c.Encrypted != nil:
		m[CnfEncrypted] = cbor.RawMessage(c.Encrypted)
		fallthrough
	case c.ID != "":
		if c.ID != "" {
			m[CnfKeyID] = []byte(c.ID)
		}
	default:
		return nil, fmt.Errorf("%w: no key", ErrConfirmation)
	}
	return cose.Encoding.Marshal(m)
}

func coseKey(v pop.Verifier) (cose.Key, error) {
	if !v.Symmetric() {
		return cose.PublicKey(v.Public())
	}
	key := cose.Symmetric(pop.NewJWK(v, "").Secret)
	key.Alg = cose.HMAC256
	return key, nil
}

// ParseConfirmationCBOR reads "cnf" or "req_cnf". More than one key, or none that is known, is an [ErrConfirmation].
func ParseConfirmationCBOR(b []byte) (c Confirmation, err error) {
	m, err := ParseMap(b)
	if err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	var id []byte
	if err := m.Read(CnfKeyID, &id); err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	raw, inClear := m[CnfKey]
	sealed, encrypted := m[CnfEncrypted]
	switch {
	case inClear && encrypted:
		return Confirmation{}, fmt.Errorf("%w: two keys", ErrConfirmation)
	case inClear:
		return parseKey(raw, string(id))
	case encrypted:
		c.Encrypted = sealed
	case len(id) == 0:
		return Confirmation{}, fmt.Errorf("%w: no key that is known here", ErrConfirmation)
	}
	c.ID = string(id)
	return c, nil
}

// parseKey reads the COSE_Key of a confirmation that has a kid beside it, or not.
func parseKey(raw cbor.RawMessage, beside string) (c Confirmation, err error) {
	var key cose.Key
	if err := key.UnmarshalCBOR(raw); err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	c.ID = string(key.ID)
	switch {
	case c.ID == "":
		c.ID = beside
	case beside != "" && beside != c.ID:
		return Confirmation{}, fmt.Errorf("%w: two names for one key", ErrConfirmation)
	}
	if key.Type == cose.Octets && key.K == nil && c.ID != "" { // a key that the other side has already (RFC 9202, 3.3.2)
		return c, nil
	}
	if c.Key, err = verifier(key); err != nil {
		return Confirmation{}, fmt.Errorf("%w: %w", ErrConfirmation, err)
	}
	return c, nil
}

// verifier is the key as what proofs are checked with, if it is meant for that.
func verifier(key cose.Key) (pop.Verifier, error) {
	if !key.Allows(cose.OpSign) && !key.Allows(cose.OpVerify) && !key.Allows(cose.OpMACCreate) && !key.Allows(cose.OpMACVerify) {
		return pop.Verifier{}, fmt.Errorf("%w: it is not to sign or to verify with", cose.ErrKey)
	}
	if key.Type == cose.Octets {
		if key.Alg != 0 && key.Alg != cose.HMAC256 {
			return pop.Verifier{}, fmt.Errorf("%w: a shared key for algorithm %d", cose.ErrKey, key.Alg)
		}
		return pop.SharedKey(key.K)
	}
	public, err := key.Public()
	if err != nil {
		return pop.Verifier{}, err
	}
	return pop.PublicKey(public)
}

// CBOR returns the body of an introspection response.
func (i Introspection) CBOR() ([]byte, error) {
	if !i.Active {
		return cose.Encoding.Marshal(map[int64]bool{LabelActive: false})
	}
	m, err := i.cborMembers()
	if err != nil {
		return nil, err
	}
	m[LabelActive] = true
	if i.ClientID != "" {
		m[LabelClientID] = i.ClientID
	}
	switch i.TokenType {
	case PoP:
		m[LabelTokenType] = PoPNumber
	case Bearer:
		m[LabelTokenType] = BearerNumber
	}
	return cose.Encoding.Marshal(m)
}

// ParseIntrospectionCBOR reads the body of an introspection response. Without "active" it is malformed.
func ParseIntrospectionCBOR(b []byte) (i Introspection, err error) {
	m, err := ParseMap(b)
	if err != nil {
		return Introspection{}, err
	}
	if _, ok := m[LabelActive]; !ok {
		return Introspection{}, fmt.Errorf("%w: it does not say whether the token is active", ErrMalformed)
	}
	if err := m.Read(LabelActive, &i.Active); err != nil || !i.Active {
		return Introspection{}, err
	}
	if i.Set, err = parseLabels(m); err != nil {
		return Introspection{}, err
	}
	var number int64
	if err := errors.Join(m.Read(LabelClientID, &i.ClientID), m.Read(LabelTokenType, &number)); err != nil {
		return Introspection{}, err
	}
	switch number {
	case PoPNumber:
		i.TokenType = PoP
	case BearerNumber:
		i.TokenType = Bearer
	}
	return i, nil
}
