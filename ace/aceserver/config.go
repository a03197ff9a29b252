package aceserver

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// Config is what [New] needs. It is copied; changes made afterwards have no effect.
type Config struct {
	// Issuer is the "iss" of the tokens and the base of all endpoints: an https URL without query and fragment, such as
	// "https://as.example" or "https://example.org/mqtt". Required.
	Issuer string
	// Store keeps what must survive a restart. It stays the caller's, who closes it after the last request. Required.
	Store store.Store
	// Keys sign tokens: the first one does, the others are published for tokens that are out, or for the next rotation.
	// At least one.
	Keys []SigningKey
	// Audiences are the brokers that tokens are issued for. At least one.
	Audiences []Audience
	// Clients are those that exist without registering. They cannot be removed at run time.
	Clients []Client
	// ResourceServers are the brokers that may ask about tokens at the introspection endpoint.
	ResourceServers []ResourceServer
	// Policies say what clients may have. What no policy allows is refused.
	Policies []Policy
	// ClientCAs verify certificates of clients and resource servers that are known by their DNS name. The http.Server
	// must ask for certificates (tls.RequestClientCert will do) and need not verify them.
	ClientCAs *x509.CertPool
	// Limits bound what one peer can ask for. The zero value has defaults.
	Limits Limits
	// Address names the network that a request comes from, for Limits. nil takes RemoteAddr, IPv6 by its /64. Behind a
	// proxy it is required, and says what the proxy does about the client: something that the client cannot forge.
	Address func(*http.Request) string
	// BehindProxy serves requests that arrive without TLS, because a proxy on a trusted network ends it. Without it
	// they are refused: tokens and keys must not cross a network in the clear (RFC 9431, section 2). Certificates of
	// clients do not get through a proxy.
	BehindProxy bool
	// Log records who asked for what and what became of it, without tokens and secrets. nil logs nothing.
	Log *slog.Logger
}

// Algorithm is that of a proof-of-possession key, by its name in JOSE.
type Algorithm = pop.Algorithm

// The algorithms of proof-of-possession keys.
const (
	HS256 = pop.HS256 // a secret that this server generates for client and broker
	EdDSA = pop.EdDSA // an Ed25519 key of the client's
	ES256 = pop.ES256 // a P-256 key of the client's
)

// Scope says which topics a client may publish and subscribe to (RFC 9431, section 2.3): a []Entry, the same type as
// ace.Scope, where its methods stand.
type Scope = aif.Scope

// Entry is one line of a Scope. The fields are
//
//	Filter    string // without "$share/group/" before it
//	Publish   bool   // on every topic that Filter matches
//	Subscribe bool   // to Filter and every filter that it covers
type Entry = aif.Entry

// Format is how a broker wants its tokens.
type Format int

// The formats.
const (
	// JWT is a JSON Web Token: signed, and for a symmetric key encrypted around that.
	JWT Format = iota
	// CWT is a CBOR Web Token: signed (COSE_Sign1), or for a symmetric key encrypted (COSE_Encrypt0).
	CWT
	// Reference is a random string, about which the broker asks at the introspection endpoint.
	Reference
)

// String is the format's name in configuration files.
func (f Format) String() string {
	if f < JWT || f > Reference {
		return fmt.Sprintf("Format(%d)", int(f))
	}
	return [...]string{"jwt", "cwt", "reference"}[f]
}

// MarshalText implements [encoding.TextMarshaler].
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *Format) UnmarshalText(text []byte) error {
	for _, known := range []Format{JWT, CWT, Reference} {
		if string(text) == known.String() {
			*f = known
			return nil
		}
	}
	return fmt.Errorf(`aceserver: the format %q is not "jwt", "cwt" or "reference"`, text)
}

// Audience is a broker, or a group of brokers, that tokens are issued for.
type Audience struct {
	// Name is the "aud" of the tokens. Required.
	Name string
	// Format is how this broker wants its tokens.
	Format Format
	// Encryption is the key that this server shares with this broker alone. Tokens with a symmetric key in them need
	// one, unless the format is Reference; without, no symmetric keys are handed out.
	Encryption TokenKey
	// Algorithms are those of the keys that tokens may be bound to. nil means all that are possible.
	Algorithms []Algorithm
	// Lifetime is how long a token is valid, in whole seconds. 0 means ten minutes.
	Lifetime time.Duration
	// NoClock is for a broker without a clock: tokens say how long they are valid from when the broker first sees them
	// ("exi"), which is weaker, since a token that was kept back is valid later.
	NoClock bool
	// Group says that the name stands for several brokers. No symmetric key is issued for it, with which one of them
	// could pretend to be the client towards the others (RFC 9200, section 6.9).
	Group bool
	// Key is the public key of the broker's TLS certificate, which clients with a key of their own are told to expect
	// (rs_cnf). nil leaves them to verify the broker by its certificate alone. Not for a Group.
	Key crypto.PublicKey
}

// TokenKey encrypts tokens to one broker, with AES-256-GCM. It is not printed.
type TokenKey struct {
	// ID tells the broker which of its keys it is, in the header of each token.
	ID string
	// Secret is 32 bytes.
	Secret []byte
}

// String hides the secret.
func (k TokenKey) String() string { return fmt.Sprintf("TokenKey(%q)", k.ID) }

// GoString is String.
func (k TokenKey) GoString() string { return k.String() }

// LogValue is String.
func (k TokenKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String for logs in JSON. It does not encode the key.
func (k TokenKey) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

const (
	defaultLifetime = 10 * time.Minute
	maxLifetime     = 30 * 24 * time.Hour
	tokenKeySize    = 32
)

// clone copies everything that could be changed afterwards.
func (c Config) clone() Config {
	c.Audiences, c.Clients = slices.Clone(c.Audiences), slices.Clone(c.Clients)
	c.ResourceServers, c.Policies = slices.Clone(c.ResourceServers), slices.Clone(c.Policies)
	for i := range c.Audiences {
		c.Audiences[i].Encryption.Secret = slices.Clone(c.Audiences[i].Encryption.Secret)
	}
	for i := range c.Clients {
		c.Clients[i].Keys = slices.Clone(c.Clients[i].Keys)
	}
	for i := range c.ResourceServers {
		c.ResourceServers[i].Audiences = slices.Clone(c.ResourceServers[i].Audiences)
	}
	for i := range c.Policies {
		c.Policies[i].Scope, c.Policies[i].Default = slices.Clone(c.Policies[i].Scope), slices.Clone(c.Policies[i].Default)
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case !validIssuer(c.Issuer):
		return fmt.Errorf("aceserver: the issuer %q is not an https URL without query, fragment and slash at the end", c.Issuer)
	case c.BehindProxy && c.Address == nil:
		return errors.New("aceserver: BehindProxy needs Address: all requests would seem to come from the proxy, and one stranger could use up everybody's share")
	case c.Store == nil:
		return errors.New("aceserver: no store")
	case len(c.Audiences) == 0:
		return errors.New("aceserver: no audience to issue tokens for")
	}
	audiences := map[string]bool{}
	for i := range c.Audiences {
		a := &c.Audiences[i]
		if err := a.validate(); err != nil {
			return fmt.Errorf("aceserver: audience %q: %w", a.Name, err)
		}
		if audiences[a.Name] {
			return fmt.Errorf("aceserver: audience %q stands there twice", a.Name)
		}
		audiences[a.Name] = true
	}
	if err := c.validateParties(audiences); err != nil {
		return err
	}
	for i, p := range c.Policies {
		if err := p.validate(audiences); err != nil {
			return fmt.Errorf("aceserver: policy %d: %w", i+1, err)
		}
	}
	return nil
}

func validIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Path == "" || u.Path == path.Clean(u.Path) && u.Path != "/" && !strings.ContainsAny(u.Path, "{} ")
}

// validateParties checks those who authenticate, who must have different names.
func (c *Config) validateParties(audiences map[string]bool) error {
	ids := map[string]bool{}
	for _, client := range c.Clients {
		if err := client.validate(); err != nil {
			return fmt.Errorf("aceserver: client %q: %w", client.ID, err)
		}
		if ids[client.ID] {
			return fmt.Errorf("aceserver: client %q stands there twice", client.ID)
		}
		ids[client.ID] = true
	}
	for _, rs := range c.ResourceServers {
		if err := errors.Join(validateID(rs.ID), rs.Credential.validate()); err != nil {
			return fmt.Errorf("aceserver: resource server %q: %w", rs.ID, err)
		}
		if ids[rs.ID] {
			return fmt.Errorf("aceserver: %q stands there twice", rs.ID)
		}
		ids[rs.ID] = true
		for _, name := range rs.Audiences {
			if !audiences[name] {
				return fmt.Errorf("aceserver: resource server %q: unknown audience %q", rs.ID, name)
			}
		}
	}
	return nil
}

// validate checks an audience and fills in what is not set.
func (a *Audience) validate() error {
	if a.Lifetime == 0 {
		a.Lifetime = defaultLifetime
	}
	encrypts := a.Encryption.ID != "" || a.Encryption.Secret != nil
	switch {
	case a.Name == "" || len(a.Name) > 255:
		return errors.New("a name has 1 to 255 characters")
	case a.Format < JWT || a.Format > Reference:
		return fmt.Errorf("unknown format %d", a.Format)
	case a.Lifetime < time.Second || a.Lifetime > maxLifetime || a.Lifetime%time.Second != 0:
		return fmt.Errorf("a lifetime of %v is not one of 1 second to 30 days in whole seconds", a.Lifetime)
	case encrypts && (a.Encryption.ID == "" || len(a.Encryption.Secret) != tokenKeySize):
		return fmt.Errorf("the encryption key needs an ID and %d bytes", tokenKeySize)
	case a.Group && a.Key != nil:
		return errors.New("a group has no one key to tell clients of (RFC 9202, section 3.2.1)")
	}
	symmetric := !a.Group && (encrypts || a.Format == Reference)
	if a.Algorithms == nil {
		a.Algorithms = []Algorithm{EdDSA, ES256}
		if symmetric {
			a.Algorithms = append(a.Algorithms, HS256)
		}
	}
	a.Algorithms = slices.Clone(a.Algorithms)
	for _, alg := range a.Algorithms {
		switch {
		case alg.ProofSize() == 0:
			return fmt.Errorf("unknown algorithm %q", alg)
		case alg == HS256 && a.Group:
			return errors.New("symmetric keys are not for a group of brokers (RFC 9200, section 6.9)")
		case alg == HS256 && !symmetric:
			return errors.New("a token with a symmetric key must be encrypted (RFC 9431, section 2.1): Encryption is not set")
		}
	}
	if len(a.Algorithms) == 0 {
		return errors.New("no algorithms")
	}
	if a.Key != nil {
		if _, err := brokerKey(a.Key); err != nil {
			return err
		}
	}
	return nil
}
