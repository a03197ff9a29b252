package report

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/pake"
)

// openTwoPhase is MQTT-Auth with a broker that knows nothing of it: the authority is a client of the broker, and a
// device logs in on one connection for a ticket, with which it makes the other. Each device comes for the first time.
func openTwoPhase(inner net.Listener) (net.Listener, entrance, error) {
	secret, store, err := enrolled(pake.Stretch{Skip: true})
	if err != nil {
		return nil, entrance{}, err
	}
	scheme := newcomers{secret}
	if _, err := scheme.client("any"); err != nil {
		return nil, entrance{}, err
	}
	return inner, entrance{link: scheme, beside: func(ctx context.Context, broker *url.URL) (func() error, error) {
		return runAuthority(ctx, broker, store)
	}}, nil
}

// runAuthority starts an authority beside a broker.
func runAuthority(ctx context.Context, broker *url.URL, store *authbroker.Store) (stop func() error, err error) {
	authority, err := authbroker.NewAuthority(authbroker.AuthorityConfig{
		Server: authorityName, Store: store, Stretch: pake.Stretch{Skip: true}, Provisioner: &accounts{made: map[string]bool{}},
		Client: autopaho.ClientConfig{ServerUrls: []*url.URL{broker}},
	})
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- authority.Run(life) }()
	stop = func() error {
		end()
		return <-ended
	}
	if err := authority.AwaitReady(ctx); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// newcomers is a scheme that makes every connection the first of its device, without a ticket.
type newcomers struct{ secret []byte }

func (n newcomers) client(id string) (*mqttauth.Client, error) {
	return mqttauth.New(mqttauth.Config{
		User: identity, Password: n.secret, Server: authorityName, ClientID: id, Stretch: pake.Stretch{Skip: true},
		TwoPhase: true, AllowPlaintext: true, // as without a second phase
	})
}

// Wrap implements link.Scheme.
func (n newcomers) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	c, err := n.client(cfg.ClientID)
	if err != nil {
		return cfg // openTwoPhase has tried the same with another Client Identifier
	}
	return c.Wrap(cfg)
}

// WrapV3 implements link.Scheme.
func (n newcomers) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	c, err := n.client(opts.ClientID)
	if err != nil {
		return opts
	}
	return c.WrapV3(opts)
}

// accounts are those of a broker that lets everybody in and makes none: what they would cost there is that broker's.
type accounts struct {
	mu   sync.Mutex
	made map[string]bool
}

// Provision implements [authbroker.Provisioner].
func (a *accounts) Provision(_ context.Context, account authbroker.Account) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made[account.Username] = true
	return nil
}

// Remove implements [authbroker.Provisioner].
func (a *accounts) Remove(_ context.Context, username string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.made, username)
	return nil
}

// Accounts implements [authbroker.Provisioner].
func (a *accounts) Accounts(context.Context) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.made)), nil
}
