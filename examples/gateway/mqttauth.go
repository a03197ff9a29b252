package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// mqttauthConfig is what the broker half of MQTT-Auth has to know.
type mqttauthConfig struct {
	Server setting[string] `yaml:"server"`
	Store  setting[string] `yaml:"store"`
	Users  setting[string] `yaml:"users"`
	Hop    setting[string] `yaml:"hop"`
	Public []permission    `yaml:"public"`
	// Claims, if it stands in the file, is who may claim what.
	Claims setting[[]claimant] `yaml:"claims"`
}

func (c *mqttauthConfig) check(k *checker, at string) {
	if c.Server.value == "" {
		k.wrong(c.Server.line, "%s.server is missing: the authority's name, which clients are configured with", at)
	}
	if c.Store.line == 0 && c.Users.line == 0 {
		k.wrong(c.Server.line, "%s: one of store and users is needed: who may log in", at)
	}
	k.readable(at+".users", c.Users)
	if c.Users.line > 0 && len(k.errs) == 0 {
		if _, err := readUsers(k.path(c.Users.value)); err != nil {
			k.wrong(c.Users.line, "%s.users: %v", at, err)
		}
	}
	if _, err := hopSealing(c.Hop.value); err != nil {
		k.wrong(c.Hop.line, "%s.hop: %v", at, err)
	}
	for n := range c.Public {
		c.Public[n].check(k, fmt.Sprintf("%s.public[%d]", at, n))
	}
	for n := range c.Claims.value {
		c.Claims.value[n].check(k, fmt.Sprintf("%s.claims[%d]", at, n))
	}
}

// hopSealing is the cipher between gateway and clients.
func hopSealing(name string) (authbroker.Hop, error) {
	switch name {
	case "":
		return authbroker.NoHop, nil
	case "aes":
		return authbroker.HopAES, nil
	case "present":
		return authbroker.HopPRESENT, nil
	}
	return authbroker.NoHop, fmt.Errorf("%q is neither aes nor present", name)
}

// user is a line of a users file: a name, white space and a verifier in text form.
type user struct{ name, verifier string }

// readUsers reads a file of users; empty lines and those that begin with # are passed over.
func readUsers(file string) ([]user, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var users []user
	seen := map[string]bool{}
	check := authbroker.MemoryStore()
	defer check.Close()
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " augpake-")
		if at < 0 {
			return nil, fmt.Errorf("line %d: want a name, a space and a verifier, which begins with augpake-", n)
		}
		u := user{strings.TrimSpace(line[:at]), line[at+1:]}
		if seen[u.name] {
			return nil, fmt.Errorf("line %d: %q stands there twice", n, u.name)
		}
		seen[u.name] = true
		if err := check.SetUserText(u.name, u.verifier); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if u.verifier, err = verifierOf(check, u.name); err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, lines.Err()
}

// serveMQTTAuth is a listener whose clients log in with passwords and show tokens for topics.
func (g *gateway) serveMQTTAuth(l *listener, cfg *listenerConfig, b *below, k *checker) error {
	store := authbroker.MemoryStore()
	if cfg.MQTTAuth.Store.line > 0 {
		var err error
		if store, err = authbroker.OpenStore(k.path(cfg.MQTTAuth.Store.value)); err != nil {
			return err
		}
	}
	settings, err := cfg.MQTTAuth.settings(store)
	var ended []authbroker.Revocation
	if err == nil {
		ended, err = cfg.MQTTAuth.enrol(store, k)
	}
	if err != nil {
		return errors.Join(err, store.Close())
	}
	settings.Secure = b.secure
	settings.Timeout = g.cfg.Limits.ConnectTimeout.value
	settings.MaxPending = g.cfg.Limits.Pending.value
	settings.MaxPendingPerSource = g.cfg.Limits.PendingPerAddress.value
	settings.Logger = g.log.With("listener", l.name)
	guarded, err := authbroker.NewListener(b.Listener, settings)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	l.served = guarded
	l.release = store.Close
	revoke := func(cfg *mqttauthConfig, ended []authbroker.Revocation) error {
		claims, err := cfg.endedClaims(store)
		for _, r := range append(ended, claims...) {
			_, revokeErr := guarded.Revoke(r)
			err = errors.Join(err, revokeErr)
		}
		return err
	}
	l.reconfigure = func(cfg *listenerConfig, k *checker) error {
		next, err := cfg.MQTTAuth.settings(store)
		if err != nil {
			return err
		}
		ended, err := cfg.MQTTAuth.enrol(store, k)
		if err == nil {
			err = guarded.Reload(next) // so that nobody claims again what ends here
		}
		return errors.Join(err, revoke(cfg.MQTTAuth, ended))
	}
	if err := revoke(cfg.MQTTAuth, ended); err != nil {
		return errors.Join(err, guarded.Close(), store.Close())
	}
	g.countMQTTAuth(l.name, guarded)
	return nil
}

// countMQTTAuth shows what a listener counts.
func (g *gateway) countMQTTAuth(listener string, guarded *authbroker.Listener) {
	count := func(name, help string, read func(authbroker.Counters) int64) {
		g.metrics.counts("mqttauth", name, help, listener, func() int64 { return read(guarded.Counters()) })
	}
	count("handshakes", "Handshakes begun.", func(c authbroker.Counters) int64 { return c.Hellos })
	count("welcomed", "Handshakes that succeeded.", func(c authbroker.Counters) int64 { return c.Welcomed })
	count("proofs_failed", "Wrong passwords.", func(c authbroker.Counters) int64 { return c.ProofFailed })
	count("backed_off", "Handshakes refused after too many guesses.", func(c authbroker.Counters) int64 { return c.BackedOff })
	count("tokens_presented", "Tokens accepted.", func(c authbroker.Counters) int64 { return c.Presented })
	count("tokens_refused", "Tokens refused.", func(c authbroker.Counters) int64 { return c.PresentRefused })
}

// settings is the part of authbroker's Config that the file describes.
func (c *mqttauthConfig) settings(store *authbroker.Store) (authbroker.Config, error) {
	hop, err := hopSealing(c.Hop.value)
	cfg := authbroker.Config{Server: c.Server.value, Store: store, Hop: hop}
	for _, p := range c.Public {
		cfg.Public = append(cfg.Public, authbroker.Rule{Filter: p.Filter.value, Publish: p.Publish, Subscribe: p.Subscribe})
	}
	if c.Claims.line > 0 {
		cfg.MayClaim = c.mayClaim
	}
	return cfg, err
}

// enrol makes the users of the file those of the store. It returns those whose password is not valid any more.
func (c *mqttauthConfig) enrol(store *authbroker.Store, k *checker) (ended []authbroker.Revocation, err error) {
	if c.Users.line == 0 {
		return nil, nil
	}
	users, err := readUsers(k.path(c.Users.value))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Users.value, err)
	}
	known, err := store.Users()
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for _, u := range users {
		listed[u.name] = true
		changed, err := change(store, u)
		if err != nil {
			return ended, err
		}
		if changed {
			ended = append(ended, authbroker.Revocation{User: u.name})
		}
	}
	for _, name := range known {
		if listed[name] {
			continue
		}
		if _, err := store.RemoveUser(name); err != nil {
			return ended, err
		}
		ended = append(ended, authbroker.Revocation{User: name})
	}
	return ended, nil
}

// change gives a user the verifier of the file, and tells whether she had another one.
func change(store *authbroker.Store, u user) (changed bool, err error) {
	before, err := verifierOf(store, u.name)
	if err != nil || before == u.verifier {
		return false, err
	}
	return before != "", store.SetUserText(u.name, u.verifier)
}

// verifierOf returns a user's verifier in its text form, "" for a user who is not in the store.
func verifierOf(store *authbroker.Store, name string) (string, error) {
	v, err := store.Verifier(name)
	if v == nil || err != nil {
		return "", err
	}
	text, err := v.MarshalText()
	return string(text), err
}

// claimant may claim filters, or every user may if none is named.
type claimant struct {
	User   string          `yaml:"user"`
	Filter setting[string] `yaml:"filter"` // and all within it
}

func (c *claimant) check(k *checker, at string) {
	if !topic.ValidFilter(c.Filter.value) {
		k.wrong(c.Filter.line, "%s.filter: %q is no topic filter", at, c.Filter.value)
	}
}

// mayClaim tells whether the file lets a user claim a filter.
func (c *mqttauthConfig) mayClaim(user, filter string) bool {
	return slices.ContainsFunc(c.Claims.value, func(may claimant) bool {
		return (may.User == "" || may.User == user) && topic.Contains(may.Filter.value, filter)
	})
}

// endedClaims are those that were made and that the file does not let their owners make any more.
func (c *mqttauthConfig) endedClaims(store *authbroker.Store) (ended []authbroker.Revocation, err error) {
	if c.Claims.line == 0 {
		return nil, nil
	}
	claims, err := store.Claims()
	for _, made := range claims {
		if !c.mayClaim(made.Owner, made.Filter) {
			ended = append(ended, authbroker.Revocation{Claim: made.Filter})
		}
	}
	return ended, err
}
