package acebroker

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-jose/go-jose/v4"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/cose"
)

// form is what the bytes of a token are.
type form int

const (
	reference form = iota // none of the others: a name for something that the issuer knows
	signedJWT             // JWS compact serialization
	sealedJWT             // JWE compact serialization
	signedCWT             // COSE_Sign1
	sealedCWT             // COSE_Encrypt0
)

// CBOR tags of a CWT (RFC 8392, section 6; RFC 9052, table 1).
const (
	tagCWT   = 61
	tagSign1 = 18
)

// unwrapped is a token whose wrapper has been verified.
type unwrapped struct {
	claims.Set
	issuer *issuer
	secret bool // the claims were encrypted, so that they may contain a secret
}

// identify tells the form of a token. A CWT comes as its bytes or, from an answer in JSON, as their base64url text
// (RFC 9770, section 4): binary is then what it decodes to.
func identify(token []byte) (f form, binary []byte) {
	if isJOSE(token) {
		switch bytes.Count(token, []byte{'.'}) {
		case 2:
			return signedJWT, nil
		case 4:
			return sealedJWT, nil
		}
	}
	if f := identifyCOSE(token); f != reference {
		return f, token
	}
	decoded := make([]byte, base64.RawURLEncoding.DecodedLen(len(token)))
	n, err := base64.RawURLEncoding.Strict().Decode(decoded, token)
	if err != nil || bytes.ContainsAny(token, "\r\n") {
		return reference, nil
	}
	return identifyCOSE(decoded[:n]), decoded[:n]
}

func isJOSE(token []byte) bool {
	for _, c := range token {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// identifyCOSE looks at the tags and the whole structure: a reference token may begin with any byte.
func identifyCOSE(b []byte) form {
	var tag cbor.RawTag
	if cose.Decoding.Unmarshal(b, &tag) != nil {
		return reference
	}
	if tag.Number == tagCWT && cose.Decoding.Unmarshal(tag.Content, &tag) != nil {
		return reference
	}
	switch tag.Number {
	case tagSign1:
		return signedCWT
	case cose.TagEncrypt0:
		return sealedCWT
	}
	return reference
}

// untag takes off the CWT tag, which may be there or not.
func untag(b []byte) []byte {
	var tag cbor.RawTag
	if cose.Decoding.Unmarshal(b, &tag) == nil && tag.Number == tagCWT {
		return tag.Content
	}
	return b
}

// unwrap verifies or decrypts a self-contained token and reads its claims.
func (v *verifier) unwrap(ctx context.Context, f form, token, binary []byte) (unwrapped, error) {
	switch f {
	case signedJWT:
		return v.unwrapJWS(ctx, string(token), false)
	case sealedJWT:
		return v.unwrapJWE(ctx, string(token))
	case signedCWT:
		return v.unwrapSign1(ctx, untag(binary), false)
	case sealedCWT:
		return v.unwrapEncrypt0(ctx, untag(binary))
	}
	return unwrapped{}, fmt.Errorf("%w: not self-contained", ErrMalformed)
}

// try calls open with each key that a token may be under, until one opens it. The algorithm is one of the list, the
// key is for that algorithm alone, and the issuer is the one whose key it is.
func (v *verifier) try(ctx context.Context, id string, algorithm Algorithm, open func(Key) bool) (*issuer, error) {
	if !v.algorithms[algorithm] {
		return nil, fmt.Errorf("%w: algorithm %q is not on the list", ErrWrapper, algorithm)
	}
	var failed error
	for _, issuer := range v.issuers {
		if issuer.Keys == nil {
			continue
		}
		keys, err := issuer.Keys.Keys(ctx, id, algorithm)
		failed = errors.Join(failed, err)
		for _, key := range keys {
			if key.Algorithm == algorithm && key.ID == id && key.check() == nil && open(key) {
				return issuer, nil
			}
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("%w: keys: %w", ErrUnreachable, failed)
	}
	return nil, ErrWrapper
}

var (
	joseSignatures  = []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.PS256, jose.RS256}
	joseEncryptions = []jose.ContentEncryption{jose.A128GCM, jose.A256GCM}
)

// errSpelling keeps out a token in another spelling than the issuer's: bits of base64url that stand for nothing would
// give one token many hashes.
var errSpelling = fmt.Errorf("%w: not in the spelling of RFC 7515", ErrMalformed)

func (v *verifier) unwrapJWS(ctx context.Context, token string, secret bool) (unwrapped, error) {
	jws, err := jose.ParseSignedCompact(token, joseSignatures)
	if err != nil || len(jws.Signatures) != 1 {
		return unwrapped{}, fmt.Errorf("%w: no JWS that is accepted here", ErrMalformed)
	}
	if again, err := jws.CompactSerialize(); err != nil || again != token {
		return unwrapped{}, errSpelling
	}
	header := jws.Signatures[0].Protected
	if !tokenType(header) {
		return unwrapped{}, fmt.Errorf("%w: a JWT of another type", ErrMalformed)
	}
	var payload []byte
	issuer, err := v.try(ctx, header.KeyID, Algorithm(header.Algorithm), func(k Key) bool {
		verified, err := jws.Verify(k.Key)
		payload = verified
		return err == nil
	})
	if err != nil {
		return unwrapped{}, err
	}
	return v.readJSON(payload, issuer, secret)
}

// tokenType keeps JWTs out that an issuer signs for other purposes (RFC 8725, section 3.11).
func tokenType(header jose.Header) bool {
	typ, given := header.ExtraHeaders[jose.HeaderType]
	if !given {
		return true
	}
	name, ok := typ.(string)
	name = strings.TrimPrefix(strings.ToLower(name), "application/")
	return ok && (name == "jwt" || name == "at+jwt")
}

func (v *verifier) unwrapJWE(ctx context.Context, token string) (unwrapped, error) {
	payload, header, issuer, err := v.openJWE(ctx, token)
	if err != nil {
		return unwrapped{}, err
	}
	if !tokenType(header) {
		return unwrapped{}, fmt.Errorf("%w: a JWT of another type", ErrMalformed)
	}
	if nested, _ := header.ExtraHeaders[jose.HeaderContentType].(string); strings.EqualFold(nested, "JWT") {
		inner, err := v.unwrapJWS(ctx, string(payload), true)
		if err == nil && inner.issuer != issuer {
			err = fmt.Errorf("%w: sealed by one, signed by another", ErrIssuer)
		}
		return inner, err
	}
	return v.readJSON(payload, issuer, true)
}

// openJWE decrypts with a key that is shared with an issuer.
func (v *verifier) openJWE(ctx context.Context, token string) (payload []byte, header jose.Header, of *issuer, err error) {
	jwe, err := jose.ParseEncryptedCompact(token, []jose.KeyAlgorithm{jose.DIRECT}, joseEncryptions)
	if err != nil {
		return nil, jose.Header{}, nil, fmt.Errorf("%w: no JWE that is accepted here", ErrMalformed)
	}
	if again, err := jwe.CompactSerialize(); err != nil || again != token {
		return nil, jose.Header{}, nil, errSpelling
	}
	algorithm, _ := jwe.Header.ExtraHeaders["enc"].(string)
	of, err = v.try(ctx, jwe.Header.KeyID, Algorithm(algorithm), func(k Key) bool {
		opened, err := jwe.Decrypt(k.Key)
		payload = opened
		return err == nil
	})
	return payload, jwe.Header, of, err
}

func (v *verifier) readJSON(payload []byte, issuer *issuer, secret bool) (unwrapped, error) {
	set, err := claims.ParseJSON(payload)
	return unwrapped{set, issuer, secret}, claimsError(err)
}

func (v *verifier) unwrapSign1(ctx context.Context, message []byte, secret bool) (unwrapped, error) {
	var m gocose.Sign1Message
	if err := m.UnmarshalCBOR(message); err != nil {
		return unwrapped{}, fmt.Errorf("%w: not a COSE_Sign1", ErrMalformed)
	}
	number, err := m.Headers.Protected.Algorithm()
	if err != nil {
		return unwrapped{}, fmt.Errorf("%w: COSE_Sign1 without an algorithm", ErrMalformed)
	}
	algorithm := map[gocose.Algorithm]Algorithm{gocose.AlgorithmEdDSA: EdDSA, gocose.AlgorithmES256: ES256}[number]
	issuer, err := v.try(ctx, keyID(m.Headers), algorithm, func(k Key) bool {
		check, err := gocose.NewVerifier(number, k.Key)
		return err == nil && m.Verify(nil, check) == nil
	})
	if err != nil {
		return unwrapped{}, err
	}
	return v.readCBOR(m.Payload, issuer, secret)
}

func keyID(h gocose.Headers) string {
	if id, ok := h.Protected[gocose.HeaderLabelKeyID].([]byte); ok {
		return string(id)
	}
	id, _ := h.Unprotected[gocose.HeaderLabelKeyID].([]byte)
	return string(id)
}

func (v *verifier) unwrapEncrypt0(ctx context.Context, message []byte) (unwrapped, error) {
	payload, issuer, err := v.openEncrypt0(ctx, message)
	if err != nil {
		return unwrapped{}, err
	}
	if identifyCOSE(payload) == signedCWT { // signed, then encrypted (RFC 8392, A.6)
		inner, err := v.unwrapSign1(ctx, untag(payload), true)
		if err == nil && inner.issuer != issuer {
			err = fmt.Errorf("%w: sealed by one, signed by another", ErrIssuer)
		}
		return inner, err
	}
	return v.readCBOR(payload, issuer, true)
}

func (v *verifier) openEncrypt0(ctx context.Context, message []byte) (payload []byte, of *issuer, err error) {
	m, err := cose.ParseEncrypt0(message)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var algorithm Algorithm
	for _, known := range []Algorithm{A128GCM, A256GCM, AESCCM16x64x128} {
		if known.cose() == m.Algorithm() {
			algorithm = known
		}
	}
	of, err = v.try(ctx, string(m.KeyID()), algorithm, func(k Key) bool {
		secret, ok := k.Key.([]byte)
		if !ok {
			return false
		}
		opened, err := m.Open(algorithm.cose(), secret, nil)
		payload = opened
		return err == nil
	})
	return payload, of, err
}

func (v *verifier) readCBOR(payload []byte, issuer *issuer, secret bool) (unwrapped, error) {
	set, err := claims.ParseCBOR(payload)
	return unwrapped{set, issuer, secret}, claimsError(err)
}

// claimsError says which step of the validation a claim fails that could not be read.
func claimsError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, claims.ErrScope):
		return fmt.Errorf("%w: %w", ErrScope, err)
	case errors.Is(err, claims.ErrConfirmation):
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
