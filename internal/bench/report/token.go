package report

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/cose"
)

// openACE is a signed token with a key of Ed25519 for each connection, over TLS 1.3 whose server has a certificate. No
// token comes twice, since the broker remembers those that it has verified.
func openACE(inner net.Listener) (net.Listener, entrance, error) {
	authority, err := ca.New()
	if err != nil {
		return nil, entrance{}, err
	}
	server, client, err := likePSK(authority, tls.VersionTLS13)
	if err != nil {
		return nil, entrance{}, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, entrance{}, err
	}
	source, err := newIssuer(private)
	if err != nil {
		return nil, entrance{}, err
	}
	scheme, err := ace.New(ace.Config{Source: source})
	if err != nil {
		return nil, entrance{}, err
	}
	listener, err := acebroker.NewListener(inner, acebroker.Config{
		TLS: server, Algorithms: []acebroker.Algorithm{acebroker.EdDSA}, Audience: []string{"broker"},
		Issuers: []acebroker.Issuer{{Name: "as", Keys: acebroker.StaticKeys{{ID: "as", Algorithm: acebroker.EdDSA, Key: public}}}},
	})
	return listener, entrance{secure: true, tls: client, link: scheme}, err
}

// issuer is an authorization server that has made tokens for one client beforehand: asking for one costs nothing.
type issuer struct {
	as  gocose.Signer
	key ace.ProofKey
	cnf cbor.RawMessage // the client's public key, as COSE has it

	mu   sync.Mutex
	made []ace.Token
}

// prepared is how many tokens lie ready; more are made when they are asked for.
const prepared = 128

func newIssuer(as ed25519.PrivateKey) (*issuer, error) {
	public, client, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	i := new(issuer)
	if i.as, err = gocose.NewSigner(gocose.AlgorithmEdDSA, as); err != nil {
		return nil, err
	}
	if i.key, err = ace.Signer(client); err != nil {
		return nil, err
	}
	key, err := cose.PublicKey(public)
	if err != nil {
		return nil, err
	}
	if i.cnf, err = key.MarshalCBOR(); err != nil {
		return nil, err
	}
	for range prepared {
		token, err := i.issue()
		if err != nil {
			return nil, err
		}
		i.made = append(i.made, token)
	}
	return i, nil
}

// issue makes a CBOR Web Token (RFC 8392) that lets its client do everything for an hour.
func (i *issuer) issue() (ace.Token, error) {
	scope, err := cose.Encoding.Marshal([]any{[]any{"#", []string{"pub", "sub"}}})
	if err != nil {
		return ace.Token{}, err
	}
	now := time.Now()
	expires := now.Add(time.Hour)
	claims, err := cose.Encoding.Marshal(map[int64]any{
		1: "as", 2: identity, 3: "broker", 4: expires.Unix(), 7: random(16), 8: map[int64]cbor.RawMessage{1: i.cnf}, 9: scope,
	})
	if err != nil {
		return ace.Token{}, err
	}
	raw, err := gocose.Sign1(rand.Reader, i.as, gocose.Headers{
		Protected:   gocose.ProtectedHeader{gocose.HeaderLabelAlgorithm: gocose.AlgorithmEdDSA},
		Unprotected: gocose.UnprotectedHeader{gocose.HeaderLabelKeyID: []byte("as")},
	}, claims, nil)
	return ace.Token{Raw: raw, Key: i.key, Expires: expires, Obtained: now}, err
}

// Token implements [ace.TokenSource].
func (i *issuer) Token(context.Context) (ace.Token, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.made) == 0 {
		return i.issue()
	}
	token := i.made[0]
	i.made = i.made[1:]
	return token, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
