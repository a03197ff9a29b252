package authbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/pake"
)

// The times that a zero in an AuthorityConfig stands for.
const (
	DefaultTicket    = time.Hour
	DefaultProvision = 10 * time.Second
)

// AuthorityConfig says how an Authority serves a broker that knows nothing of it. Server, Store, Client and Provisioner
// are required; everything else has a useful zero.
type AuthorityConfig struct {
	// Server is the authority's name, the one that the verifiers were made for and that clients are configured with.
	Server string
	// Store has the users and what must survive a restart. One Authority has it at a time.
	Store *Store

	// Client is how to connect to the broker: an ordinary client's options, which may be wrapped by other schemes. Its
	// account must be allowed to subscribe to AuthenticationTopic and to publish on the temporary topics of all
	// clients, and nobody else's should be. The Client Identifier is a random one if it is empty.
	Client autopaho.ClientConfig
	// Provisioner makes accounts at the broker.
	Provisioner Provisioner
	// Ticket is the longest life of an account. It is shorter where a token that was presented expires before. An
	// account that is used after a token was revoked is removed, which cuts its connection off.
	Ticket time.Duration
	// Provision bounds each request to the Provisioner.
	Provision time.Duration

	// Group is that of the users' verifiers, as in Config.
	Group pake.Group
	// Stretch is that of the users' verifiers, as in Config.
	Stretch pake.Stretch
	// Budget bounds the guesses at passwords. A broker does not tell where a message comes from, so that they are
	// counted by Client Identifier: nil is a budget that does not let new ones have a guess for nothing. A device that
	// has logged in during the last 30 days is not kept out by strangers unless they know its Client Identifier.
	Budget *pake.Budget

	// Public is what every account may do, with tokens or without.
	Public []Rule
	// MayClaim decides who may claim what, as in Config.
	MayClaim func(user, filter string) bool
	// ClientIdentifier decides whether a user may log in with a Client Identifier; nil lets her use any. The account is
	// for that Client Identifier alone, so whoever may use somebody else's can end her connection: tie the two together
	// where users do not trust each other. It is asked before a password is proved, and a refusal is silence at once:
	// let the names alone decide, or it tells strangers which users exist.
	ClientIdentifier func(user, clientID string) bool

	// AuthenticationTopic is where clients publish their frames, TemporaryTopic where they get answers; "%c" in it
	// stands for the Client Identifier and must be there.
	AuthenticationTopic, TemporaryTopic string

	// MaxClaim is the longest time that a claim can be given, or renewed, for.
	MaxClaim time.Duration
	// MaxTokens, MaxClaims and MaxRevocations bound the tokens that one client lives by (at most 1024), the claims of
	// one user and the revocations in one claim.
	MaxTokens, MaxClaims, MaxRevocations int
	// MaxRuns bounds the handshakes under way, and the sessions that are kept: 4096.
	MaxRuns int

	// Clock is the time; nil is the real one.
	Clock Clock
	// Logger hears who logged in, and who was refused what and why; never a secret. nil discards.
	Logger *slog.Logger
}

func (c *AuthorityConfig) core() *core {
	return &core{
		server: c.Server, store: c.Store, group: c.Group, stretch: c.Stretch, budget: c.Budget, mayClaim: c.MayClaim,
		authenticationTopic: c.AuthenticationTopic, temporaryTopic: c.TemporaryTopic, maxClaim: c.MaxClaim, maxRuns: c.MaxRuns,
		limits: limits{c.MaxTokens, c.MaxClaims, c.MaxRevocations}, clock: c.Clock, logger: c.Logger,
	}
}

// Authority logs clients in at a broker that knows nothing of it: it is a client of that broker itself, with which
// devices run the handshake over two topics, present their tokens, and get a ticket: a short-lived account with the
// permissions that their tokens give. The broker then enforces them (mqttauth.Config.TwoPhase).
//
// An account is noted in the store before it is made and forgotten after it is removed, so that a crash leaves none
// behind. Several processes may stand by for one broker: [WaitStore] lets the next one in when the first is gone.
// Several at once need a name, a store and an AuthenticationTopic each, and see nothing of each other's claims.
type Authority struct {
	cfg       AuthorityConfig
	core      *core
	registrar *registrar
	authority *handshake.Authority
	counters  counters
	work      chan task
	ready     chan struct{}

	mu       sync.Mutex
	link     *link
	sources  map[frame.ID]source
	sessions map[frame.ID]*handshake.Session

	accounts sync.Mutex  // one change of accounts at a time
	owed     atomic.Bool // some could not be removed whose grants are over
	wake     chan struct{}
	once     sync.Once
}

// source is where the answers of a run go.
type source struct {
	clientID string
	since    time.Time
}

// task is a frame that came.
type task struct{ octets []byte }

const (
	workers = 8
	backlog = 1024
	// sessionLife is how long a client may send requests after its handshake.
	sessionLife = 10 * time.Minute
)

// NewAuthority returns an Authority, or an error that names what is wrong with cfg. [Authority.Run] starts it.
func NewAuthority(cfg AuthorityConfig) (*Authority, error) {
	core := cfg.core()
	if err := core.check(); err != nil {
		return nil, err
	}
	if cfg.Ticket == 0 {
		cfg.Ticket = DefaultTicket
	}
	if cfg.Provision == 0 {
		cfg.Provision = DefaultProvision
	}
	if core.maxRuns == 0 {
		core.maxRuns = handshake.DefaultMaxRuns
	}
	switch {
	case core.store.remote != nil:
		return nil, errors.New("authbroker: an Authority needs the store itself, not one of another process")
	case len(cfg.Client.ServerUrls) == 0:
		return nil, errors.New("authbroker: AuthorityConfig.Client has no ServerUrls")
	case cfg.Provisioner == nil:
		return nil, errors.New("authbroker: AuthorityConfig.Provisioner is required")
	case cfg.Ticket < time.Second, cfg.Provision < 0:
		return nil, fmt.Errorf("authbroker: AuthorityConfig.Ticket of %v, Provision of %v", cfg.Ticket, cfg.Provision)
	}
	if _, err := guard.NewScope(cfg.Public); err != nil {
		return nil, fmt.Errorf("authbroker: AuthorityConfig.Public: %w", err)
	}
	a := &Authority{
		cfg: cfg, core: core, registrar: core.registrar(), work: make(chan task, backlog), ready: make(chan struct{}),
		sources: make(map[frame.ID]source), sessions: make(map[frame.ID]*handshake.Session), wake: make(chan struct{}, 1),
	}
	var err error
	if a.authority, err = core.authority(true); err != nil {
		return nil, err
	}
	return a, nil
}

// Run serves until ctx ends, which is no error, however often the broker goes and comes back. It may be called once.
// Accounts stay when it returns; the next Run looks after them.
func (a *Authority) Run(ctx context.Context) error {
	if err := a.registrar.sweep(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for range workers {
		running.Go(func() { a.workOff(ctx) })
	}
	up := make(chan struct{}, 1)
	cfg := a.cfg.Client
	cfg.CleanStartOnInitialConnection, cfg.SessionExpiryInterval = true, 0
	l, err := newLink(ctx, cfg, "mqttauth-authority-", a.core.authenticationTopic, a.receive, func() { note(up) })
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.link = l
	a.mu.Unlock()
	running.Go(func() { a.lookAfter(ctx, up) })
	<-ctx.Done()
	return l.close()
}

// AwaitReady returns when the Authority has connected, subscribed, and looked after the accounts that it found.
func (a *Authority) AwaitReady(ctx context.Context) error {
	select {
	case <-a.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Counters returns the counts of this moment; those of packages that judge connections are zero.
func (a *Authority) Counters() Counters { return a.counters.read() }

func note(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// receive takes a message on the authentication topic. It does not wait: what is too much is lost, and clients repeat
// themselves.
func (a *Authority) receive(m *paho.Publish) {
	if m.Retain || len(m.Payload) > frame.MaxSize || m.Topic != a.core.authenticationTopic {
		return
	}
	select {
	case a.work <- task{m.Payload}:
	default:
		a.counters.dropped.Add(1)
	}
}

func (a *Authority) workOff(ctx context.Context) {
	for {
		select {
		case t := <-a.work:
			a.take(ctx, t.octets)
		case <-ctx.Done():
			return
		}
	}
}

// say publishes a frame for a client.
func (a *Authority) say(ctx context.Context, clientID string, b []byte) {
	a.mu.Lock()
	l := a.link
	a.mu.Unlock()
	if l == nil || b == nil {
		return
	}
	if err := l.publish(ctx, a.core.temporary(clientID), b, 0); err != nil {
		a.core.logger.Warn("answer not sent", "client", clientID, "reason", shown(err.Error()))
	}
}
