package aceserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// SigningKey signs tokens. The key itself may be in a security module; one in memory is not printed.
type SigningKey struct {
	// ID is the "kid" in the tokens and in the JWK Set. Empty takes the key's thumbprint (RFC 7638).
	ID string
	// Key has an Ed25519 or P-256 public key.
	Key crypto.Signer
}

// String describes the key without showing it.
func (k SigningKey) String() string { return fmt.Sprintf("SigningKey(%q, %T)", k.ID, k.Key) }

// GoString is String.
func (k SigningKey) GoString() string { return k.String() }

// LogValue is String.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String for logs in JSON. It does not encode the key.
func (k SigningKey) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// keyring is the keys of a moment; it is replaced as a whole.
type keyring struct {
	kid  string
	jwt  jose.Signer
	cwt  gocose.Signer
	set  []byte // the JWK Set of all keys
	kids map[string]bool
}

func newKeyring(keys []SigningKey) (*keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("aceserver: no key to sign tokens with")
	}
	ring := &keyring{kids: map[string]bool{}}
	var set jose.JSONWebKeySet
	for i, key := range keys {
		public, err := public(key)
		if err != nil {
			return nil, fmt.Errorf("aceserver: signing key %d: %w", i+1, err)
		}
		if ring.kids[public.KeyID] {
			return nil, fmt.Errorf("aceserver: signing key %q stands there twice", public.KeyID)
		}
		ring.kids[public.KeyID] = true
		set.Keys = append(set.Keys, public)
		if i > 0 {
			continue
		}
		if err := ring.signWith(key.Key, public); err != nil {
			return nil, fmt.Errorf("aceserver: signing key %q: %w", public.KeyID, err)
		}
	}
	var err error
	ring.set, err = json.Marshal(set)
	return ring, err
}

// public describes a key as the JWK Set shows it.
func public(key SigningKey) (jose.JSONWebKey, error) {
	if key.Key == nil {
		return jose.JSONWebKey{}, errors.New("no key")
	}
	v, err := pop.PublicKey(key.Key.Public())
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	jwk := jose.JSONWebKey{Key: key.Key.Public(), KeyID: key.ID, Algorithm: string(v.Algorithm()), Use: "sig"}
	if jwk.KeyID == "" {
		jwk.KeyID, err = thumbprint(v)
	}
	return jwk, err
}

// thumbprint names a public key by RFC 7638.
func thumbprint(v pop.Verifier) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: v.Public()}).Thumbprint(crypto.SHA256)
	return strict.EncodeText(sum), err
}

func (r *keyring) signWith(key crypto.Signer, public jose.JSONWebKey) (err error) {
	r.kid = public.KeyID
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", r.kid)
	signing := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(public.Algorithm), Key: cryptosigner.Opaque(key)}
	if r.jwt, err = jose.NewSigner(signing, options); err != nil {
		return err
	}
	algorithm := gocose.AlgorithmES256
	if public.Algorithm == string(pop.EdDSA) {
		algorithm = gocose.AlgorithmEdDSA
	}
	r.cwt, err = gocose.NewSigner(algorithm, key)
	return err
}

// SetKeys changes the signing keys while the server runs, as in Config.Keys. To rotate without a token refused
// anywhere: add the new key behind the old one for as long as brokers keep the JWK Set, then put it first, and take
// the old one out when the tokens that it signed have expired.
func (s *Server) SetKeys(keys []SigningKey) error {
	ring, err := newKeyring(keys)
	if err != nil {
		return err
	}
	s.keys.Store(ring)
	return nil
}

// brokerConfirmation is rs_cnf in both forms (RFC 9201, section 3.4); cbor is nil for a key that COSE_Key does not have
// here.
type brokerConfirmation struct {
	json []byte
	cbor []byte
}

// brokerKey makes the rs_cnf of a broker's public key.
func brokerKey(key crypto.PublicKey) (*brokerConfirmation, error) {
	switch key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey, *rsa.PublicKey:
	default:
		return nil, fmt.Errorf("the broker's key is a %T, which is none of Ed25519, ECDSA and RSA", key)
	}
	jwk, err := (&jose.JSONWebKey{Key: key}).MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("the broker's key: %w", err)
	}
	var c brokerConfirmation
	if c.json, err = json.Marshal(map[string]json.RawMessage{"jwk": jwk}); err != nil {
		return nil, err
	}
	if k, err := cose.PublicKey(key); err == nil {
		if c.cbor, err = cose.Encoding.Marshal(map[int64]any{claims.CnfKey: k}); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// encrypterFor makes what encrypts JWTs to a broker, nil without a key.
func encrypterFor(key TokenKey) (jose.Encrypter, error) {
	if key.Secret == nil {
		return nil, nil
	}
	recipient := jose.Recipient{Algorithm: jose.DIRECT, Key: key.Secret, KeyID: key.ID}
	options := (&jose.EncrypterOptions{}).WithContentType("JWT").WithType("JWT")
	return jose.NewEncrypter(jose.A256GCM, recipient, options)
}

// hashOf is what the store knows a token by: whoever reads the store cannot use it.
func hashOf(token []byte) string {
	sum := sha256.Sum256(token)
	return string(sum[:])
}
