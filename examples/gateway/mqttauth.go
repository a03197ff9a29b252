package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/pake"
)

// mqttauthConfig is what the broker half of MQTT-Auth has to know.
type mqttauthConfig struct {
	Server setting[string] `yaml:"server"`
	Store  setting[string] `yaml:"store"`
	Share  *shareConfig    `yaml:"share"`
	Shared *sharedConfig   `yaml:"shared"`
	Users  setting[string] `yaml:"users"`
	Decoys setting[string] `yaml:"decoys"`
	// Group and Stretch are those of the users' verifiers, which whoever does not exist appears to have too.
	Group   setting[string] `yaml:"group"`
	Stretch stretchConfig   `yaml:"stretch"`
	Hop     setting[string] `yaml:"hop"`
	Public  []permission    `yaml:"public"`
	// Claims, if it stands in the file, is who may claim what.
	Claims setting[[]claimant] `yaml:"claims"`
}

func (c *mqttauthConfig) check(k *checker, at string) {
	if c.Server.value == "" {
		k.wrong(c.Server.line, "%s.server is missing: the authority's name, which clients are configured with", at)
	}
	if c.Store.line == 0 && c.Users.line == 0 && c.Shared == nil {
		k.wrong(c.Server.line, "%s: one of store and users is needed: who may log in", at)
	}
	c.checkSharing(k, at)
	k.reads(at+".users", c.Users, func(path string) error {
		_, err := readUsers(path)
		return err
	})
	k.reads(at+".decoys", c.Decoys, func(path string) error {
		_, err := loadDecoys(path)
		return err
	})
	if _, err := c.likeness(); err != nil {
		k.wrong(max(c.Group.line, c.Stretch.line()), "%s.group and %s.stretch: %v", at, at, err)
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

// fixed is that of a listener.
func (c *mqttauthConfig) fixed(next *mqttauthConfig) string {
	switch {
	case next.Server.value != c.Server.value:
		return "server"
	case next.Store.value != c.Store.value:
		return "store"
	case next.Decoys.value != c.Decoys.value:
		return "decoys"
	case next.Group.value != c.Group.value:
		return "group"
	case next.Stretch.stretch() != c.Stretch.stretch():
		return "stretch"
	case next.Hop.value != c.Hop.value:
		return "hop"
	case c.Share.fixed(next.Share):
		return "share"
	case c.Shared.fixed(next.Shared):
		return "shared"
	}
	return ""
}

// stretchConfig is what a guess at a password costs, as in pake.Stretch. Nothing is pake's default.
type stretchConfig struct {
	Time    setting[uint32] `yaml:"time"`
	Memory  setting[uint32] `yaml:"memory_kib"`
	Threads setting[uint8]  `yaml:"threads"`
	Skip    setting[bool]   `yaml:"skip"`
}

func (c *stretchConfig) stretch() pake.Stretch {
	return pake.Stretch{Time: c.Time.value, Memory: c.Memory.value, Threads: c.Threads.value, Skip: c.Skip.value}
}

func (c *stretchConfig) line() int {
	return max(c.Time.line, c.Memory.line, c.Threads.line, c.Skip.line)
}

// group is that of the file.
func (c *mqttauthConfig) group() (pake.Group, error) {
	switch c.Group.value {
	case "", "p256":
		return pake.P256, nil
	case "ristretto255":
		return pake.Ristretto255, nil
	}
	return 0, fmt.Errorf("%q is neither p256 nor ristretto255", c.Group.value)
}

// likeness is a verifier such as users who do not exist appear to have.
func (c *mqttauthConfig) likeness() (*pake.Verifier, error) {
	group, err := c.group()
	if err != nil {
		return nil, err
	}
	decoys, err := pake.NewDecoys(pake.Config{Group: group, Stretch: c.Stretch.stretch()}, make([]byte, 32))
	if err != nil {
		return nil, err
	}
	return decoys.Verifier("", c.Server.value, nil), nil
}

// warnOfOthers tells the operator of users who can be told from those who do not exist. Where the store is another
// gateway's, that one does.
func (c *mqttauthConfig) warnOfOthers(log *slog.Logger, store *authbroker.Store) error {
	if c.Shared != nil {
		return nil
	}
	like, err := c.likeness()
	if err != nil {
		return err
	}
	users, err := store.Users()
	if err != nil {
		return err
	}
	others, example := 0, ""
	for _, name := range users {
		v, err := store.Verifier(name)
		if err != nil {
			return err
		}
		if v != nil && (v.Group() != like.Group() || v.Stretch() != like.Stretch()) {
			others, example = others+1, name
		}
	}
	if others > 0 {
		log.Warn("verifiers of another group or stretch than the settings say show strangers who exists", "users", others, "one", example)
	}
	return nil
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

// loadDecoys reads the secret behind the answers for users who do not exist: the first line of a file.
func loadDecoys(file string) ([]byte, error) {
	secret, err := loadPassword(file)
	if err == nil && len(secret) < 32 {
		err = fmt.Errorf("%s: fewer than 32 octets in its first line", file)
	}
	return secret, err
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
	store, err := openStore(cfg.MQTTAuth, k)
	if err != nil {
		return err
	}
	settings, err := cfg.MQTTAuth.settings(store, &g.cfg.Limits)
	var ended []authbroker.Revocation
	if err == nil {
		ended, err = cfg.MQTTAuth.enrol(store, k)
	}
	if err == nil {
		err = cfg.MQTTAuth.warnOfOthers(l.log, store)
	}
	if err != nil {
		return errors.Join(err, store.Close())
	}
	if cfg.MQTTAuth.Decoys.line > 0 {
		if settings.Decoys, err = loadDecoys(k.path(cfg.MQTTAuth.Decoys.value)); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	release := store.Close
	var served *servedStore
	if share := cfg.MQTTAuth.Share; share != nil {
		if served, err = g.serveStore(store, share, k); err != nil {
			return errors.Join(err, store.Close())
		}
		release = func() error { return errors.Join(served.close(), store.Close()) }
	}
	settings.Secure = b.secure
	settings.Logger = l.log
	guarded, err := authbroker.NewListener(b.Listener, settings)
	if err != nil {
		return errors.Join(err, release())
	}
	l.served = guarded
	l.release = release
	l.ready = store.Available
	revoke := func(cfg *mqttauthConfig, ended []authbroker.Revocation) error {
		if cfg.Shared != nil {
			return nil // the gateway that has the store does
		}
		claims, err := cfg.endedClaims(store)
		for _, r := range append(ended, claims...) {
			_, revokeErr := guarded.Revoke(r)
			err = errors.Join(err, revokeErr)
		}
		return err
	}
	l.reconfigure = func(cfg *listenerConfig, limits *limitsConfig, k *checker) error {
		next, err := cfg.MQTTAuth.settings(store, limits)
		if err != nil {
			return err
		}
		renew, err := cfg.MQTTAuth.renewal(store, served, k)
		if err != nil {
			return err
		}
		ended, err := cfg.MQTTAuth.enrol(store, k)
		if err == nil {
			err = guarded.Reload(next) // so that nobody claims again what ends here
		}
		if err == nil {
			err = renew()
		}
		return errors.Join(err, revoke(cfg.MQTTAuth, ended), cfg.MQTTAuth.warnOfOthers(l.log, store))
	}
	if err := revoke(cfg.MQTTAuth, ended); err != nil {
		return errors.Join(err, guarded.Close(), release())
	}
	g.countMQTTAuth(l.name, guarded)
	g.countSharing(l.name, store)
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
func (c *mqttauthConfig) settings(store *authbroker.Store, limits *limitsConfig) (authbroker.Config, error) {
	hop, err := hopSealing(c.Hop.value)
	cfg := authbroker.Config{
		Server: c.Server.value, Store: store, Hop: hop, Stretch: c.Stretch.stretch(),
		Timeout: limits.ConnectTimeout.value, MaxPending: limits.Pending.value, MaxPendingPerSource: limits.PendingPerAddress.value,
	}
	if err == nil {
		cfg.Group, err = c.group()
	}
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
