package acebroker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
)

// Scope is a list of what may be published and subscribed to (RFC 9431, section 2.3): a []Entry, the same type as
// ace.Scope, where its methods stand.
type Scope = aif.Scope

// Entry is one Topic Filter of a Scope with its permissions. The fields are
//
//	Filter    string // without "$share/group/" before it
//	Publish   bool   // on every topic that Filter matches
//	Subscribe bool   // to Filter and every filter that it covers
type Entry = aif.Entry

// Clock is the time, for programs that test expiry without waiting for it. Its methods are
//
//	Now() time.Time
//	// AfterFunc calls f in its own goroutine after d, unless stop is called before and returns true.
//	AfterFunc(d time.Duration, f func()) (stop func() bool)
type Clock = layer.Clock

// The bounds and times that a zero in Config stands for.
const (
	DefaultTimeout      = 10 * time.Second
	DefaultLeeway       = time.Minute
	DefaultCachedTokens = 16_384
	DefaultStoredTokens = 10_000
)

// topicAuthzInfo is where a client without credentials may publish its token (RFC 9431, section 2.2.2).
const topicAuthzInfo = "authz-info"

// Issuer is an Authorization Server whose tokens are accepted. It must have Keys, for tokens that say everything
// themselves, Introspection, for tokens that are only a reference, or both.
type Issuer struct {
	// Name is what the iss of its tokens must be if they have one. Required, and different for each issuer.
	Name string
	// Keys are what its tokens are signed or encrypted with.
	Keys KeySet
	// Introspection says how to ask it about reference tokens.
	Introspection *Introspection
}

// Config says which tokens a broker accepts and what else it allows. TLS or BehindTLSProxy, Algorithms, Issuers and
// Audience are required; everything else has a useful zero.
type Config struct {
	// TLS is what each connection begins with: at least version 1.2, and the protocol "mqtt" for clients that use
	// ALPN, unless NextProtos says otherwise. nil is for a listener below whose connections are TLS connections of
	// this process already, such as one of crypto/tls or tlspsk: a *tls.Conn, or what reaches one by NetConn.
	TLS *tls.Config
	// Secure is in place of TLS for what crypto/tls alone does not do, such as TLS with WebSocket inside: it returns
	// the connection from which TLS can be reached by NetConn. ctx ends when the time is over.
	Secure func(ctx context.Context, conn net.Conn) (net.Conn, error)
	// BehindTLSProxy says that TLS has ended in front of this process, on a network path that is trusted. Tokens then
	// arrive unprotected, and the proof over the TLS exporter, and with it MQTT 3.1.1, is impossible.
	BehindTLSProxy bool

	// Algorithms are those that an Authorization Server may protect its tokens with. What is not on the list is
	// refused, whatever keys there are.
	Algorithms []Algorithm
	// Issuers are the Authorization Servers.
	Issuers []Issuer
	// Audience are the names of this broker: aud of a token must contain one of them.
	Audience []string

	// Public is what everybody may do, with a token or without one. A client without one may connect if there is
	// anything for it to do, here or at authz-info, and may do that alone.
	Public Scope
	// AuthzInfo accepts tokens that are published to "authz-info", from anybody: to bring the rights of a live
	// connection with the same key up to date, and for StoredTokens.
	AuthzInfo bool
	// PSK lets clients connect with the key of a token as TLS's pre-shared key, and nothing in CONNECT (RFC 9431,
	// section 2.2.1, "TLS:Known(PSK),MQTT:none"). The listener below must have its Key, and TLS is nil. nil is none of
	// that.
	PSK *PSK
	// StoredTokens lets a v5 client connect without a token if a valid one is known that came with the same Client
	// Identifier, in an earlier CONNECT or at authz-info. It must prove that it has the key, by the challenge.
	StoredTokens bool
	// Hint is what v5 clients without a valid token are told; nil is nothing.
	Hint *Hint
	// CNonce, if not zero, demands that a token, when it is seen first, contains a nonce that this broker gave out in
	// a Hint not longer ago than this.
	CNonce time.Duration

	// ClientIdentifier decides whether a client with this identity, "" for one without a token, may use a Client
	// Identifier. nil lets it use any that is not another identity's at the moment: see [NewListener].
	ClientIdentifier func(identity, clientID string) bool
	// UserName is what the broker behind gets as User Name of an authenticated client, "" for none. nil is the
	// identity.
	UserName func(identity string) string

	// Timeout is for TLS, CONNECT and proof together, for asking an Authorization Server, and for the answer to a
	// challenge.
	Timeout time.Duration
	// Leeway is how far nbf and iat may be in the future, for clocks that differ. exp has none. Negative is none at
	// all.
	Leeway time.Duration
	// MaxPending and MaxPendingPerSource bound the connections that are not authenticated yet, in all and from one
	// IPv4 address or IPv6 /64: 1024 and 256 by default.
	MaxPending, MaxPendingPerSource int
	// CachedTokens is how many valid tokens are remembered, StoredTokenLimit how many are stored for AuthzInfo and
	// StoredTokens. One whose claims take more than 4 KiB of memory counts for several, which bounds memory to about
	// 8 KiB for each of the number; one that counts for more than all is not remembered.
	CachedTokens, StoredTokenLimit int
	// MaxSubscriptions, MaxClients and MaxRetained bound the Topic Filters of one client, the Client Identifiers with
	// a session, and the topics with a retained message of a 3.1.1 client, or a retained Will: 1024, 100,000 and
	// 65,536 by default. One identity may have a tenth of the latter two; its messages and Wills beyond that are
	// published without being retained.
	MaxSubscriptions, MaxClients, MaxRetained int
	// Conceal answers "unspecified error" instead of "not authorized" to PUBLISH and SUBSCRIBE, so as not to tell
	// which topics exist.
	Conceal bool

	// Clock is the time; nil is the real one.
	Clock Clock
	// Logger hears who connected, and who was refused what and why; never a token, a key or a payload. nil discards.
	Logger *slog.Logger
}

// check completes the config and finds what is wrong with it.
func (c *Config) check() error {
	switch {
	case c.TLS != nil && c.Secure != nil:
		return errors.New("acebroker: both Config.TLS and Config.Secure")
	case c.TLS != nil && c.BehindTLSProxy:
		return errors.New("acebroker: both Config.TLS and Config.BehindTLSProxy")
	case len(c.Algorithms) == 0:
		return errors.New("acebroker: Config.Algorithms is required: name those that the authorization servers use")
	case len(c.Issuers) == 0:
		return errors.New("acebroker: Config.Issuers is required")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return errors.New("acebroker: Config.Audience is required: the names by which tokens mean this broker")
	case min(c.Timeout, c.CNonce) < 0, min(c.MaxPending, c.MaxPendingPerSource, c.CachedTokens, c.StoredTokenLimit) < 0,
		min(c.MaxSubscriptions, c.MaxClients, c.MaxRetained) < 0:
		return errors.New("acebroker: negative bound in Config")
	case c.CNonce > 0 && c.Hint == nil:
		return errors.New("acebroker: Config.CNonce without Config.Hint, which tells clients the nonce")
	}
	for _, a := range c.Algorithms {
		if !a.known() {
			return fmt.Errorf("acebroker: unknown algorithm %q in Config.Algorithms", a)
		}
	}
	if err := c.Public.Validate(); err != nil {
		return fmt.Errorf("acebroker: Config.Public: %w", err)
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil {
			return errors.New("acebroker: Config.TLS without a certificate")
		}
		c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
		if c.TLS.NextProtos == nil {
			c.TLS.NextProtos = []string{"mqtt"}
		}
	}
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Leeway = max(cmp.Or(c.Leeway, DefaultLeeway), 0)
	c.CachedTokens = cmp.Or(c.CachedTokens, DefaultCachedTokens)
	c.StoredTokenLimit = cmp.Or(c.StoredTokenLimit, DefaultStoredTokens)
	if c.Clock == nil {
		c.Clock = layer.SystemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.UserName == nil {
		c.UserName = func(identity string) string { return identity }
	}
	return nil
}

// rules are the public topics as the guard wants them.
func rules(s Scope) []guard.Rule {
	rules := make([]guard.Rule, len(s))
	for i, e := range s {
		rules[i] = guard.Rule{Filter: e.Filter, Publish: e.Publish, Subscribe: e.Subscribe}
	}
	return rules
}

// issuers checks the issuers.
func (c *Config) issuers() ([]*issuer, error) {
	var all []*issuer
	for _, i := range c.Issuers {
		switch {
		case i.Name == "" || slices.ContainsFunc(all, func(other *issuer) bool { return other.Name == i.Name }):
			return nil, fmt.Errorf("acebroker: issuer %q: names are required and different", i.Name)
		case i.Keys == nil && i.Introspection == nil:
			return nil, fmt.Errorf("acebroker: issuer %q has neither keys nor introspection", i.Name)
		}
		if static, ok := i.Keys.(StaticKeys); ok {
			if err := checkKeys(static, c.Algorithms); err != nil {
				return nil, fmt.Errorf("%w (issuer %q)", err, i.Name)
			}
			i.Keys = slices.Clone(static)
		}
		known := &issuer{Issuer: i}
		if i.Introspection != nil {
			asker, err := newIntrospection(*i.Introspection)
			if err != nil {
				return nil, fmt.Errorf("%w (issuer %q)", err, i.Name)
			}
			known.asker, known.asking = asker, make(chan struct{}, maxAsking)
		}
		all = append(all, known)
	}
	return all, nil
}

func checkKeys(keys StaticKeys, algorithms []Algorithm) error {
	if len(keys) == 0 {
		return errors.New("acebroker: no keys")
	}
	for _, k := range keys {
		if err := k.check(); err != nil {
			return err
		}
		if !slices.Contains(algorithms, k.Algorithm) {
			return fmt.Errorf("acebroker: a key for %q, which Config.Algorithms does not list", k.Algorithm)
		}
	}
	return nil
}
