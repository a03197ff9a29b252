package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// mqttauthConfig is what the broker half of MQTT-Auth has to know.
type mqttauthConfig struct {
	Server setting[string] `yaml:"server"`
	Store  setting[string] `yaml:"store"`
	Users  setting[string] `yaml:"users"`
	Hop    setting[string] `yaml:"hop"`
	Public []permission    `yaml:"public"`
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
	if err == nil && cfg.MQTTAuth.Users.line > 0 {
		_, err = enrol(store, k.path(cfg.MQTTAuth.Users.value))
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
	l.reconfigure = func(cfg *listenerConfig, k *checker) error {
		next, err := cfg.MQTTAuth.settings(store)
		if err != nil {
			return err
		}
		if cfg.MQTTAuth.Users.line > 0 {
			gone, err := enrol(store, k.path(cfg.MQTTAuth.Users.value))
			for _, name := range gone {
				_, revokeErr := guarded.Revoke(authbroker.Revocation{User: name})
				err = errors.Join(err, revokeErr)
			}
			if err != nil {
				return err
			}
		}
		return guarded.Reload(next)
	}
	count := func(name, help string, read func(authbroker.Counters) int64) {
		g.metrics.counts("mqttauth", name, help, l.name, func() int64 { return read(guarded.Counters()) })
	}
	count("handshakes", "Handshakes begun.", func(c authbroker.Counters) int64 { return c.Hellos })
	count("welcomed", "Handshakes that succeeded.", func(c authbroker.Counters) int64 { return c.Welcomed })
	count("proofs_failed", "Wrong passwords.", func(c authbroker.Counters) int64 { return c.ProofFailed })
	count("backed_off", "Handshakes refused after too many guesses.", func(c authbroker.Counters) int64 { return c.BackedOff })
	count("tokens_presented", "Tokens accepted.", func(c authbroker.Counters) int64 { return c.Presented })
	count("tokens_refused", "Tokens refused.", func(c authbroker.Counters) int64 { return c.PresentRefused })
	return nil
}

// settings is the part of authbroker's Config that the file describes.
func (c *mqttauthConfig) settings(store *authbroker.Store) (authbroker.Config, error) {
	hop, err := hopSealing(c.Hop.value)
	cfg := authbroker.Config{Server: c.Server.value, Store: store, Hop: hop}
	for _, p := range c.Public {
		cfg.Public = append(cfg.Public, authbroker.Rule{Filter: p.Filter.value, Publish: p.Publish, Subscribe: p.Subscribe})
	}
	return cfg, err
}

// enrol makes the users of a file those of the store. It returns the names of those who are not in it any more.
func enrol(store *authbroker.Store, file string) (gone []string, err error) {
	users, err := readUsers(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	known, err := store.Users()
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for _, u := range users {
		listed[u.name] = true
		if err := store.SetUserText(u.name, u.verifier); err != nil {
			return nil, err
		}
	}
	for _, name := range known {
		if listed[name] {
			continue
		}
		if _, err := store.RemoveUser(name); err != nil {
			return gone, err
		}
		gone = append(gone, name)
	}
	return gone, nil
}
