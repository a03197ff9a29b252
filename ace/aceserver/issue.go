package aceserver

import (
	"crypto/rand"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

const (
	profileName   = pop.Profile
	profileNumber = pop.ProfileCBOR
)

// referenceSize is how many random bytes are in a reference token, before base64url.
const referenceSize = 32

// target is an audience with what tokens for it are made with.
type target struct {
	Audience
	encrypter jose.Encrypter      // nil without a key
	rsCnf     *brokerConfirmation // nil without a key
}

func newTarget(a Audience) (*target, error) {
	t := &target{Audience: a}
	var err error
	if t.encrypter, err = encrypterFor(a.Encryption); err != nil {
		return nil, err
	}
	if a.Key != nil {
		t.rsCnf, err = brokerKey(a.Key)
	}
	return t, err
}

// token writes a claim set in the audience's format. It returns the token as MQTT carries it and as JSON does; they
// differ for a CWT alone (RFC 9770, section 4).
func (t *target) token(ring *keyring, set claims.Set) (token []byte, text string, err error) {
	symmetric := set.Confirmation.Key.Symmetric()
	switch {
	case t.Format == Reference:
		text = randomText(referenceSize)
	case t.Format == CWT && symmetric:
		token, err = t.encryptedCWT(set)
	case t.Format == CWT:
		token, err = ring.signedCWT(set)
	case symmetric:
		text, err = t.encryptedJWT(ring, set)
	default:
		text, err = ring.signedJWT(set)
	}
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("aceserver: make a token: %w", err)
	case t.Format == CWT:
		return token, strict.EncodeText(token), nil
	}
	return []byte(text), text, nil
}

// signedJWT is a JWS (RFC 7515).
func (r *keyring) signedJWT(set claims.Set) (string, error) {
	payload, err := set.JSON()
	if err != nil {
		return "", err
	}
	jws, err := r.jwt.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// encryptedJWT is a JWS inside a JWE (RFC 7519, section 11.2): the signature tells the broker that it was this server
// and not somebody else with the shared key.
func (t *target) encryptedJWT(ring *keyring, set claims.Set) (string, error) {
	signed, err := ring.signedJWT(set)
	if err != nil {
		return "", err
	}
	jwe, err := t.encrypter.Encrypt([]byte(signed))
	if err != nil {
		return "", err
	}
	return jwe.CompactSerialize()
}

// signedCWT is a COSE_Sign1 with its tag (RFC 8392).
func (r *keyring) signedCWT(set claims.Set) ([]byte, error) {
	payload, err := set.CBOR()
	if err != nil {
		return nil, err
	}
	message := gocose.NewSign1Message()
	message.Headers.Protected.SetAlgorithm(r.cwt.Algorithm())
	message.Headers.Unprotected[gocose.HeaderLabelKeyID] = []byte(r.kid)
	message.Payload = payload
	if err := message.Sign(rand.Reader, nil, r.cwt); err != nil {
		return nil, err
	}
	return message.MarshalCBOR()
}

// encryptedCWT is a COSE_Encrypt0 with its tag (RFC 9202, section 3.3.1). That it is this server's follows from the
// key, which only the broker has besides.
func (t *target) encryptedCWT(set claims.Set) ([]byte, error) {
	payload, err := set.CBOR()
	if err != nil {
		return nil, err
	}
	return cose.Encrypt0(cose.A256GCM, t.Encryption.Secret, []byte(t.Encryption.ID), nil, payload)
}
