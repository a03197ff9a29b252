package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mqttsec/mqttsec/ace/acebroker"
)

// aceConfig is what the broker half of RFC 9431 has to know.
type aceConfig struct {
	Audience      []string               `yaml:"audience"`
	Issuer        setting[string]        `yaml:"issuer"`
	Algorithms    []string               `yaml:"algorithms"`
	JWKS          setting[string]        `yaml:"jwks"`
	Keys          setting[string]        `yaml:"keys"`
	CA            setting[string]        `yaml:"ca"`
	Introspection *introspectionConfig   `yaml:"introspection"`
	Hint          setting[string]        `yaml:"hint"`
	AuthzInfo     bool                   `yaml:"authz_info"`
	Public        []permission           `yaml:"public"`
	Leeway        setting[time.Duration] `yaml:"leeway"`
	// ClientIdentifier is "any" or "identity".
	ClientIdentifier setting[string] `yaml:"client_identifier"`
	Revoked          setting[string] `yaml:"revoked"`
}

// Which Client Identifiers a client may use: any that is free, or the identity that its token names.
const (
	anyIdentifier = "any"
	identityOnly  = "identity"
)

type introspectionConfig struct {
	URL        setting[string] `yaml:"url"`
	ClientID   setting[string] `yaml:"client_id"`
	SecretFile setting[string] `yaml:"secret_file"`
}

func (c *aceConfig) check(k *checker, at string) {
	before := len(k.errs)
	if c.Issuer.value == "" {
		k.wrong(c.Issuer.line, "%s.issuer is missing: the name of the authorization server, as its tokens have it", at)
	}
	if len(c.Audience) == 0 {
		k.wrong(c.Issuer.line, "%s.audience is missing: the names by which tokens mean this broker", at)
	}
	if len(c.Algorithms) == 0 {
		k.wrong(c.Issuer.line, "%s.algorithms is missing: those that tokens may be protected with, such as EdDSA, ES256, A256GCM", at)
	}
	sources := 0
	for _, s := range []setting[string]{c.JWKS, c.Keys} {
		if s.line > 0 {
			sources++
		}
	}
	if sources > 1 {
		k.wrong(c.Keys.line, "%s: jwks and keys are two ways to say the same: take one", at)
	}
	if sources == 0 && c.Introspection == nil {
		k.wrong(c.Issuer.line, "%s: one of jwks, keys and introspection is needed", at)
	}
	if id := c.ClientIdentifier; id.line > 0 && id.value != anyIdentifier && id.value != identityOnly {
		k.wrong(id.line, "%s.client_identifier: %q is neither any nor identity", at, id.value)
	}
	k.reads(at+".revoked", c.Revoked, func(path string) error {
		_, err := readRevoked(path)
		return err
	})
	if c.JWKS.line > 0 {
		k.https(at+".jwks", c.JWKS)
	}
	if c.Hint.line > 0 {
		k.https(at+".hint", c.Hint)
	}
	k.reads(at+".keys", c.Keys, readable)
	k.reads(at+".ca", c.CA, certificates)
	if i := c.Introspection; i != nil {
		k.https(at+".introspection.url", i.URL)
		if i.ClientID.value == "" || i.SecretFile.value == "" {
			k.wrong(i.URL.line, "%s.introspection: client_id and secret_file are needed", at)
		}
		k.reads(at+".introspection.secret_file", i.SecretFile, readable)
	}
	for n := range c.Public {
		c.Public[n].check(k, fmt.Sprintf("%s.public[%d]", at, n))
	}
	if len(k.errs) > before {
		return // what follows reads the files
	}
	if _, err := c.settings(k); err != nil {
		k.wrong(c.Issuer.line, "%s: %v", at, err)
	}
}

// settings is the part of acebroker's Config that the file describes, and that can be reloaded.
func (c *aceConfig) settings(k *checker) (acebroker.Config, error) {
	cfg := acebroker.Config{Audience: c.Audience, AuthzInfo: c.AuthzInfo, Leeway: c.Leeway.value}
	if c.ClientIdentifier.value == identityOnly {
		cfg.ClientIdentifier = func(identity, clientID string) bool { return clientID == identity }
	}
	for _, name := range c.Algorithms {
		cfg.Algorithms = append(cfg.Algorithms, acebroker.Algorithm(name))
	}
	for _, p := range c.Public {
		cfg.Public = append(cfg.Public, acebroker.Entry{Filter: p.Filter.value, Publish: p.Publish, Subscribe: p.Subscribe})
	}
	if c.Hint.line > 0 {
		cfg.Hint = &acebroker.Hint{AS: c.Hint.value, Audience: c.Audience[0]}
	}
	issuer := acebroker.Issuer{Name: c.Issuer.value}
	var trust *tls.Config
	if c.CA.line > 0 {
		roots, err := loadPool(k.path(c.CA.value))
		if err != nil {
			return cfg, err
		}
		trust = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	var err error
	switch {
	case c.JWKS.line > 0:
		issuer.Keys, err = acebroker.NewJWKS(acebroker.JWKSConfig{URL: c.JWKS.value, TLS: trust})
	case c.Keys.line > 0:
		issuer.Keys, err = loadKeySet(k.path(c.Keys.value))
	}
	if err != nil {
		return cfg, err
	}
	if i := c.Introspection; i != nil {
		secret, err := os.ReadFile(k.path(i.SecretFile.value))
		if err != nil {
			return cfg, err
		}
		issuer.Introspection = &acebroker.Introspection{
			URL: i.URL.value, ClientID: i.ClientID.value, ClientSecret: strings.TrimSpace(string(secret)), TLS: trust,
		}
	}
	cfg.Issuers = []acebroker.Issuer{issuer}
	return cfg, nil
}

// loadKeySet reads a JWK Set (RFC 7517, section 5) whose keys say their algorithms.
func loadKeySet(file string) (acebroker.StaticKeys, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("%s: no JWK Set: %w", file, err)
	}
	var keys acebroker.StaticKeys
	for i, jwk := range set.Keys {
		key := acebroker.Key{ID: jwk.KeyID, Algorithm: acebroker.Algorithm(jwk.Algorithm)}
		switch material := jwk.Key.(type) {
		case ed25519.PublicKey, *ecdsa.PublicKey, *rsa.PublicKey, []byte:
			key.Key = material
		default:
			return nil, fmt.Errorf("%s: key %d (%q) is neither a public key nor a shared one", file, i, jwk.KeyID)
		}
		if key.Algorithm == "" {
			return nil, fmt.Errorf("%s: key %d (%q) has no alg", file, i, jwk.KeyID)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no keys in it", file)
	}
	return keys, nil
}

// serveACE is a listener whose clients show tokens of an Authorization Server.
func (g *gateway) serveACE(l *listener, cfg *listenerConfig, b *below, k *checker) error {
	settings, err := cfg.ACE.settings(k)
	if err != nil {
		return err
	}
	guarded, err := g.guardACE(l, b, settings)
	if err != nil {
		return err
	}
	if err := cfg.ACE.revoke(guarded, k); err != nil {
		return errors.Join(err, guarded.Close())
	}
	return nil
}

// guardACE is serveACE with settings that need not come from a file.
func (g *gateway) guardACE(l *listener, b *below, settings acebroker.Config) (*acebroker.Listener, error) {
	bound := func(settings *acebroker.Config, limits *limitsConfig) {
		settings.Timeout = limits.ConnectTimeout.value
		settings.MaxPending, settings.MaxPendingPerSource = limits.Pending.value, limits.PendingPerAddress.value
	}
	bound(&settings, &g.cfg.Limits)
	settings.Logger = l.log
	settings.Secure = b.secure
	settings.PSK = l.tokens
	guarded, err := acebroker.NewListener(b.Listener, settings)
	if err != nil {
		return nil, err
	}
	l.served = guarded
	l.reconfigure = func(cfg *listenerConfig, limits *limitsConfig, k *checker) error {
		next, err := cfg.ACE.settings(k)
		if err != nil {
			return err
		}
		bound(&next, limits)
		next.PSK = l.tokens
		return errors.Join(guarded.Reload(next), cfg.ACE.revoke(guarded, k))
	}
	count := func(name, help string, read func(acebroker.Counters) int64) {
		g.metrics.counts("ace", name, help, l.name, func() int64 { return read(guarded.Counters()) })
	}
	count("tokens_verified", "Tokens validated.", func(c acebroker.Counters) int64 { return c.Verified })
	count("tokens_rejected", "Tokens that are not valid.", func(c acebroker.Counters) int64 { return c.Rejected })
	count("tokens_cached", "Tokens found in the cache of valid ones.", func(c acebroker.Counters) int64 { return c.Cached })
	count("proofs_failed", "Proofs of possession that failed.", func(c acebroker.Counters) int64 { return c.ProofFailed })
	count("introspections", "Questions to an authorization server.", func(c acebroker.Counters) int64 { return c.Introspected })
	count("unreachable", "Tokens refused because nobody could be asked.", func(c acebroker.Counters) int64 { return c.Unreachable })
	count("reauthentications", "Tokens renewed in a connection.", func(c acebroker.Counters) int64 { return c.Reauthenticated })
	return guarded, nil
}
