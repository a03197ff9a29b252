package authbroker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/presentseal"
	"github.com/mqttsec/mqttsec/internal/seal"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/pake"
)

// Rule is a Topic Filter with what may be done with the topics that it matches. The fields are
//
//	Filter    string
//	Publish   bool // on every topic that Filter matches
//	Subscribe bool // to Filter and every filter that it covers
type Rule = guard.Rule

// Clock is the time, for programs that test expiry without waiting for it. Its methods are
//
//	Now() time.Time
//	// AfterFunc calls f in its own goroutine after d, unless stop is called before and returns true.
//	AfterFunc(d time.Duration, f func()) (stop func() bool)
type Clock = layer.Clock

// The bounds and times that a zero in a configuration stands for.
const (
	DefaultTimeout        = 10 * time.Second
	DefaultMaxClaim       = 90 * 24 * time.Hour
	DefaultMaxTokens      = 64
	DefaultMaxClaims      = 64
	DefaultMaxRevocations = 1024
)

// The topics that frames go over unless the configuration says otherwise; "%c" stands for the Client Identifier.
const (
	DefaultAuthenticationTopic = "mqttauth/auth"
	DefaultTemporaryTopic      = "mqttauth/c/%c"
)

// Hop is a cipher for payloads between a client and the broker half.
type Hop byte

// The ciphers.
const (
	NoHop      Hop = iota // payloads are what clients make of them
	HopAES                // that of aesmsg.Session
	HopPRESENT            // that of present.Session
)

// Rejection tells Config.Rejected of one message that was withheld, as aesmsg.Rejection does, whose type it is. The
// fields are
//
//	ClientID string // of the MQTT session
//	Topic    string
//	Outgoing bool   // on its way to the client
//	Err      error  // one of aesmsg's errors, for errors.Is
type Rejection = seal.Rejection

// hop returns what seals and opens, nil for NoHop.
func (c *Config) hop() *seal.Hop {
	switch c.Hop {
	case HopAES:
		return seal.NewHop(seal.XAES(), c.Rejected)
	case HopPRESENT:
		return seal.NewHop(presentseal.Suite(), c.Rejected)
	}
	return nil
}

// Method is the Authentication Method of MQTT-Auth.
const Method = "MQTT-Auth"

// Config says who may log in at a broker and what may be claimed there. Server and Store are required, everything else
// has a useful zero.
type Config struct {
	// Server is the authority's name, the one that the verifiers were made for and that clients are configured with.
	Server string
	// Store has the users and what must survive a restart.
	Store *Store

	// TLS is what each connection begins with, nil for none. Without TLS, passwords, session keys and tokens are as
	// safe as with it, but what is published is in the clear unless it is sealed, and whoever can change the bytes of a
	// connection can take it over after the handshake: see Hop.
	TLS *tls.Config
	// Secure is in place of TLS for what crypto/tls does not have, such as TLS with a pre-shared key.
	Secure func(ctx context.Context, conn net.Conn) (net.Conn, error)
	// Hop has the payloads sealed between each client and here, under keys of its handshake, and sealed again for each
	// subscriber. Clients need the same: aesmsg.Session or present.Session. The Will is not covered.
	Hop Hop
	// Rejected hears of each message that was withheld because it does not open under the keys of its hop.
	Rejected func(Rejection)

	// Group is that of the users' verifiers, so that nobody learns which users exist. The default is that of package
	// pake.
	Group pake.Group
	// Stretch is that of the users' verifiers, for the same reason and with the same default.
	Stretch pake.Stretch
	// Decoys is the secret behind the answers for users who do not exist, at least 32 random octets, as lasting as the
	// verifiers: whoever sees it change learns who exists. nil is the Store's own, which suffices where one store has
	// all users; authorities of one name whose stores have the same users, side by side or one after another, need the
	// same secret.
	Decoys []byte
	// Budget bounds the guesses at passwords; nil is the default one of package pake, with counts in the memory of the
	// process that has the Store, for all that use it. Many devices behind one address that log in for the first time
	// at once need one with a larger FreePerSource.
	Budget *pake.Budget

	// Public is what every client may do once it has logged in, without a token. All other topics need one.
	Public []Rule
	// MayClaim decides who may claim what. nil lets any user claim any filter, whoever comes first, except those that
	// begin with a wildcard or "$". Filters that take in the topics of the handshake are refused always, but for those
	// that begin with a wildcard.
	MayClaim func(user, filter string) bool
	// ClientIdentifier decides whether a user may connect with a Client Identifier. nil lets her use any that is not
	// another user's at the moment.
	ClientIdentifier func(user, clientID string) bool
	// UserName is what the broker behind gets as User Name of a client, "" for none. nil is the user's name.
	UserName func(user string) string

	// AuthenticationTopic is where clients publish their frames, TemporaryTopic where they get answers; "%c" in it
	// stands for the Client Identifier and must be there. Frames on them never reach the broker.
	AuthenticationTopic, TemporaryTopic string

	// Lifetime ends each connection that long after its handshake; 0 does not.
	Lifetime time.Duration
	// MaxClaim is the longest time that a claim can be given, or renewed, for.
	MaxClaim time.Duration
	// MaxTokens, MaxClaims and MaxRevocations bound the tokens that one client lives by (at most 1024), the claims of
	// one user and, in one claim, the revocations as well as the single-use tokens that have been used. What one user's
	// clients were granted is remembered for 1024 Client Identifiers.
	MaxTokens, MaxClaims, MaxRevocations int

	// Timeout is for TLS and the handshake together, from the connection's arrival.
	Timeout time.Duration
	// MaxPending and MaxPendingPerSource bound the connections that are not authenticated yet, in all and from one
	// IPv4 address or IPv6 /64: 1024 and 256 by default. MaxRuns bounds the handshakes under way: 4096.
	MaxPending, MaxPendingPerSource, MaxRuns int
	// MaxSubscriptions, MaxClients and MaxRetained bound the Topic Filters of one client, the Client Identifiers with
	// a session, and the topics with a retained message that has to be remembered, which is one of a 3.1.1 client or
	// a Will: 1024, 100,000 and 65,536. One user may have a tenth of the latter two; messages and Wills beyond that
	// are published without being retained.
	MaxSubscriptions, MaxClients, MaxRetained int
	// Conceal answers "unspecified error" instead of "not authorized" to PUBLISH and SUBSCRIBE, so as not to tell
	// which topics exist.
	Conceal bool

	// Clock is the time; nil is the real one.
	Clock Clock
	// Logger hears who connected, who was refused what and why, and who claimed what; never a secret or a payload. nil
	// discards.
	Logger *slog.Logger
}

// check completes the config and finds what is wrong with it.
func (c *Config) check() error {
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	core := c.core()
	if err := core.check(); err != nil {
		return err
	}
	switch {
	case c.TLS != nil && c.Secure != nil:
		return errors.New("authbroker: both Config.TLS and Config.Secure")
	case c.Hop > HopPRESENT:
		return fmt.Errorf("authbroker: Config.Hop %d is none", c.Hop)
	case c.Lifetime < 0, c.Timeout < 0, min(c.MaxPending, c.MaxPendingPerSource, c.MaxSubscriptions, c.MaxClients, c.MaxRetained) < 0:
		return errors.New("authbroker: negative bound in Config")
	case c.Lifetime > 0 && c.Lifetime < time.Second, c.Lifetime/time.Second > 1<<32-1:
		return fmt.Errorf("authbroker: Config.Lifetime of %v: it is counted in seconds", c.Lifetime)
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil {
			return errors.New("authbroker: Config.TLS without a certificate")
		}
		c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
		if c.TLS.NextProtos == nil {
			c.TLS.NextProtos = []string{"mqtt"}
		}
	}
	c.AuthenticationTopic, c.TemporaryTopic = core.authenticationTopic, core.temporaryTopic
	c.MaxClaim, c.MaxTokens = core.maxClaim, core.limits.tokens
	c.Clock, c.Logger = core.clock, core.logger
	if c.UserName == nil {
		c.UserName = func(user string) string { return user }
	}
	return nil
}

func (c *Config) core() *core {
	return &core{
		server: c.Server, store: c.Store, group: c.Group, stretch: c.Stretch, decoys: c.Decoys, budget: c.Budget, mayClaim: c.MayClaim,
		authenticationTopic: c.AuthenticationTopic, temporaryTopic: c.TemporaryTopic, maxClaim: c.MaxClaim, maxRuns: c.MaxRuns,
		limits: limits{c.MaxTokens, c.MaxClaims, c.MaxRevocations}, clock: c.Clock, logger: c.Logger,
	}
}

// core is what a Listener and an Authority have in common.
type core struct {
	server              string
	store               *Store
	group               pake.Group
	stretch             pake.Stretch
	decoys              []byte // nil for the store's
	budget              *pake.Budget
	mayClaim            func(user, filter string) bool
	authenticationTopic string
	temporaryTopic      string
	maxClaim            time.Duration
	maxRuns             int
	limits              limits
	clock               Clock
	logger              *slog.Logger
}

// topics completes the topics of the handshake.
func (c *core) topics() {
	c.authenticationTopic = cmp.Or(c.authenticationTopic, DefaultAuthenticationTopic)
	c.temporaryTopic = cmp.Or(c.temporaryTopic, DefaultTemporaryTopic)
}

func (c *core) check() error {
	c.topics()
	c.maxClaim = cmp.Or(c.maxClaim, DefaultMaxClaim)
	c.limits.tokens = cmp.Or(c.limits.tokens, DefaultMaxTokens)
	c.limits.claims = cmp.Or(c.limits.claims, DefaultMaxClaims)
	c.limits.revocations = cmp.Or(c.limits.revocations, DefaultMaxRevocations)
	if c.clock == nil {
		c.clock = layer.SystemClock{}
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !frame.ValidName(c.server):
		return fmt.Errorf("authbroker: Config.Server %.80q: the authority needs a name of 1 to 255 octets", c.server)
	case c.store == nil:
		return errors.New("authbroker: Config.Store is required")
	case !topic.ValidName(c.authenticationTopic):
		return fmt.Errorf("authbroker: Config.AuthenticationTopic %.80q is no topic", c.authenticationTopic)
	case !strings.Contains(c.temporaryTopic, "%c") || !topic.ValidName(c.temporary("x")):
		return fmt.Errorf("authbroker: Config.TemporaryTopic %.80q is no topic with %%c in it", c.temporaryTopic)
	case topic.Match(temporaryFilter(c.temporaryTopic), c.authenticationTopic):
		return errors.New("authbroker: Config.AuthenticationTopic and Config.TemporaryTopic are not apart")
	case c.maxClaim < time.Second, c.maxClaim/time.Second > 1<<32-1:
		return fmt.Errorf("authbroker: Config.MaxClaim of %v: it is counted in seconds", c.maxClaim)
	case min(c.limits.tokens, c.limits.claims, c.limits.revocations, c.maxRuns) < 0:
		return errors.New("authbroker: negative bound in Config")
	case c.limits.tokens > maxRecordGrants:
		return fmt.Errorf("authbroker: Config.MaxTokens of %d, more than %d", c.limits.tokens, maxRecordGrants)
	}
	return nil
}

// temporary returns the topic on which a client gets its answers.
func (c *core) temporary(clientID string) string { return temporary(c.temporaryTopic, clientID) }

func temporary(pattern, clientID string) string { return strings.ReplaceAll(pattern, "%c", clientID) }

// temporaryFilter matches the temporary topics of all clients, and perhaps more.
func temporaryFilter(pattern string) string {
	levels := strings.Split(pattern, "/")
	for i, level := range levels {
		if strings.Contains(level, "%c") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// registrar returns the registrar of the config, which is complete.
func (c *core) registrar() *registrar {
	return &registrar{
		store: c.store, mayClaim: c.mayClaim, own: []string{c.authenticationTopic, temporaryFilter(c.temporaryTopic)},
		maxClaim: c.maxClaim, limits: c.limits, now: c.clock.Now,
	}
}

// authority returns the authority's side of the handshakes. newSources refuses the first guess from a source that is
// new where strangers have used up what they have, for sources that cost nothing. A store that has not been available
// yet is ErrUnavailable.
func (c *core) authority(newSources bool) (*handshake.Authority, error) {
	secret, cfg := c.decoys, pake.Config{Group: c.group, Stretch: c.stretch}
	if secret == nil {
		known := c.store.decoys.Load()
		if known == nil {
			_, err := pake.NewDecoys(cfg, make([]byte, decoysSize)) // is all else right?
			return nil, cmp.Or(err, ErrUnavailable)
		}
		secret = known[:]
	}
	decoys, err := pake.NewDecoys(cfg, secret)
	if err != nil {
		return nil, fmt.Errorf("authbroker: Config.Group, Config.Stretch and Config.Decoys: %w", err)
	}
	budget := c.budget
	if budget == nil {
		if budget, err = pake.NewBudget(pake.BudgetConfig{RefuseNewSources: newSources, Store: c.store.guesses}); err != nil {
			return nil, fmt.Errorf("authbroker: %w", err)
		}
	}
	a, err := handshake.NewAuthority(handshake.AuthorityConfig{
		Server: c.server, Verifier: c.store.Verifier, Decoys: decoys, Budget: budget, MaxRuns: c.maxRuns, Now: c.clock.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("authbroker: %w", err)
	}
	return a, nil
}
