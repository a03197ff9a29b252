package site

import (
	"bufio"
	"context"
	"crypto/ed25519"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/pake"
)

// The audiences of the Authorization Server. Broker and Brief are the gateway's, with tokens of different lifetimes;
// Elsewhere is another broker's.
const (
	Broker    = "broker"
	Brief     = "brief"
	Elsewhere = "elsewhere"
)

// The listeners of the gateway: without protection, with certificates, with pre-shared keys, with tokens, and with the
// passwords of MQTT-Auth, which are without TLS and sealed on their hop with AES.
const (
	Plain     = "plain"
	TLS       = "tls"
	PSK       = "psk"
	Tokens    = "tokens"
	Passwords = "passwords"
)

// Authority is the name of the gateway's authority of MQTT-Auth.
const Authority = "authority.example"

// issuer is the name of the Authorization Server.
const issuer = "https://as.example"

// Config says what a Site is like.
type Config struct {
	// Upstream is where the broker is: "mqtt://127.0.0.1:1883".
	Upstream string
	// Further are the brokers of more gateways, one each. All take the same tokens, keys and passwords. What clients of
	// MQTT-Auth claim each has for itself.
	Further []string
	// Clients are what the Authorization Server knows: an identifier and what it may do, at each audience.
	Clients map[string]ace.Scope
	// Identities have a pre-shared key.
	Identities []string
	// Users have a password at the authority.
	Users []string
	// Lifetime of tokens for [Brief]; those of the others last ten minutes. Zero is two seconds.
	Lifetime time.Duration
	// Password is what the broker gets with the User Names of clients that a scheme has authenticated. Empty is none.
	Password string
	// Limits are those of the gateway, in the syntax of its configuration: "{pending: 10, connect_timeout: 2s}".
	Limits string
}

// Site is a running one.
type Site struct {
	// AS and Gateway are its processes, Gateway the first of Gateways.
	AS, Gateway *Process
	Gateways    []*Process
	// Authority issued the certificates of both.
	Authority *ca.Authority
	// Dir holds their files, secrets included.
	Dir string

	ports     ports.Set
	addresses map[string]string // of the Authorization Server, "as", and of each gateway's listeners and "admin" (see at)
	secret    string            // of every client, at the Authorization Server
	keys      map[string][]byte
	guard     acebroker.Config
}

// Start builds the programs and starts them. It returns when both can be reached.
func Start(ctx context.Context, cfg Config) (*Site, error) {
	dir, err := os.MkdirTemp("", "site")
	if err != nil {
		return nil, err
	}
	s := &Site{Dir: dir, addresses: make(map[string]string), keys: make(map[string][]byte)}
	if err := s.prepare(ctx, cfg); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.AS = &Process{name: "as", addresses: []string{s.addresses["as"]},
		args: []string{filepath.Join(dir, "as"), "-config", filepath.Join(dir, "as.json")}}
	for i := range cfg.upstreams() {
		var addresses []string
		for _, name := range listeners {
			addresses = append(addresses, s.addresses[at(i, name)])
		}
		s.Gateways = append(s.Gateways, &Process{name: at(i, "gateway"), addresses: addresses,
			args: []string{filepath.Join(dir, "gateway"), "-config", filepath.Join(dir, at(i, "gateway")+".yaml")}})
	}
	s.Gateway = s.Gateways[0]
	for _, p := range append([]*Process{s.AS}, s.Gateways...) {
		if err := p.Start(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close ends the processes and removes the files.
func (s *Site) Close() error {
	var errs []error
	for _, p := range s.Gateways {
		errs = append(errs, p.Kill())
	}
	return errors.Join(append(errs, s.AS.Kill(), s.ports.Close(), os.RemoveAll(s.Dir))...)
}

// URL leads to a listener of the gateway.
func (s *Site) URL(listener string) *url.URL { return s.URLOf(0, listener) }

// URLOf leads to a listener of one of the gateways, from 0.
func (s *Site) URLOf(gateway int, listener string) *url.URL {
	scheme := "mqtts"
	if listener == Plain || listener == Passwords {
		scheme = "mqtt"
	}
	return &url.URL{Scheme: scheme, Host: s.addresses[at(gateway, listener)]}
}

// TokenEndpoint is where the Authorization Server gives tokens.
func (s *Site) TokenEndpoint() string { return "https://" + s.addresses["as"] + "/token" }

// Trust is what clients dial with.
func (s *Site) Trust() *tls.Config { return s.Authority.ClientConfig() }

// Source is where a client gets its tokens for an audience.
func (s *Site) Source(client, audience string) (*ace.AS, error) {
	return ace.NewAS(ace.ASConfig{
		Endpoint: s.TokenEndpoint(), ClientID: client, ClientSecret: s.secret, Audience: audience, TLS: s.Trust(),
	})
}

// Secret is what every client shows the Authorization Server.
func (s *Site) Secret() string { return s.secret }

// PSK is the configuration of an identity, which has a key.
func (s *Site) PSK(identity string) tlspsk.Config {
	return tlspsk.Config{Identity: identity, Key: s.keys[identity]}
}

// Stretch is what a guess at a user's password costs here: nothing that would hold a test up.
func Stretch() pake.Stretch { return pake.Stretch{Time: 1, Memory: 1024, Threads: 1} }

// Password is a user's.
func Password(user string) []byte { return []byte("the password of " + user) }

// users is the file of the authority's.
func users(names []string) ([]byte, error) {
	var file strings.Builder
	for _, name := range append(names, "nobody") {
		v, err := pake.NewVerifier(pake.Config{Stretch: Stretch()}, name, Authority, Password(name))
		if err != nil {
			return nil, err
		}
		text, err := v.MarshalText()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&file, "%s %s\n", name, text)
	}
	return []byte(file.String()), nil
}

// Guard is what a broker half in the caller's process has to know to take the same tokens as the gateway.
func (s *Site) Guard() (acebroker.Config, error) {
	cfg := s.guard
	var err error
	cfg.TLS, err = s.Authority.ServerConfig()
	return cfg, err
}

// Metrics are those of the gateway that have no labels, by name, and the sums of those that do.
func (s *Site) Metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addresses[at(0, "admin")]+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	values := make(map[string]float64)
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "#") || !ok {
			continue
		}
		name, labels, _ := strings.Cut(name, "{")
		if labels != "" {
			text = lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:]
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] += v
		}
	}
	return values, lines.Err()
}

// prepare writes everything down.
func (s *Site) prepare(ctx context.Context, cfg Config) error {
	if err := build(ctx, s.Dir, programs...); err != nil {
		return err
	}
	names := []string{"as"}
	for i := range cfg.upstreams() {
		for _, name := range listeners {
			names = append(names, at(i, name))
		}
	}
	for _, name := range names {
		host, err := s.ports.Take()
		if err != nil {
			return err
		}
		s.addresses[name] = host
	}
	var err error
	if s.Authority, err = ca.New(); err != nil {
		return err
	}
	certificate, err := s.Authority.Issue(ca.Subject{})
	if err != nil {
		return err
	}
	if _, _, err := ca.WriteFiles(s.Dir, "server", certificate); err != nil {
		return err
	}
	jwks, err := s.writeKeys()
	if err != nil {
		return err
	}
	as, err := s.serverConfig(cfg)
	if err != nil {
		return err
	}
	var keys strings.Builder
	for _, identity := range append(cfg.Identities, "nobody") { // an empty file would be a mistake
		key := make([]byte, 32)
		s.keys[identity] = key
		cryptorand.Read(key) // never fails
		fmt.Fprintf(&keys, "%s:%s\n", identity, hex.EncodeToString(key))
	}
	verifiers, err := users(cfg.Users)
	if err != nil {
		return err
	}
	for i, upstream := range cfg.upstreams() {
		if err := s.write(at(i, "gateway")+".yaml", []byte(s.gatewayConfig(cfg, i, upstream))); err != nil {
			return err
		}
	}
	return errors.Join(s.write("users.txt", verifiers), s.write("broker.pass", []byte(cfg.Password)),
		s.write("jwks.json", jwks), s.write("as.json", as), s.write("psk.txt", []byte(keys.String())))
}

// listeners are what each gateway listens for.
var listeners = []string{"admin", Plain, TLS, PSK, Tokens, Passwords}

// at is what something of a gateway is called.
func at(gateway int, name string) string { return fmt.Sprint(name, gateway) }

// upstreams are the brokers of all gateways.
func (cfg Config) upstreams() []string { return append([]string{cfg.Upstream}, cfg.Further...) }

func (s *Site) write(name string, text []byte) error {
	return os.WriteFile(filepath.Join(s.Dir, name), text, 0o600)
}

// writeKeys makes the keys of tokens: one that signs, and one that the Authorization Server and the broker share.
func (s *Site) writeKeys() (jwks []byte, err error) {
	public, signing, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		return nil, err
	}
	shared := make([]byte, 32)
	cryptorand.Read(shared) // never fails
	s.guard = acebroker.Config{
		Issuers: []acebroker.Issuer{{Name: issuer, Keys: acebroker.StaticKeys{
			{ID: "s1", Algorithm: acebroker.EdDSA, Key: public}, {ID: "e1", Algorithm: acebroker.A256GCM, Key: shared},
		}}},
		Algorithms: []acebroker.Algorithm{acebroker.EdDSA, acebroker.A256GCM},
		Audience:   []string{Broker, Brief},
	}
	raw := base64.RawURLEncoding.EncodeToString
	jwks, err = json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "OKP", "crv": "Ed25519", "kid": "s1", "alg": "EdDSA", "x": raw(public)},
		{"kty": "oct", "kid": "e1", "alg": "A256GCM", "k": raw(shared)},
	}})
	return jwks, errors.Join(err,
		s.write("signing.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		s.write("shared.key", []byte(base64.StdEncoding.EncodeToString(shared))))
}

// serverConfig is the file of the Authorization Server.
func (s *Site) serverConfig(cfg Config) ([]byte, error) {
	secret, hash := aceserver.NewSecret()
	s.secret = secret
	brief := cfg.Lifetime
	if brief == 0 {
		brief = 2 * time.Second
	}
	type object = map[string]any
	var audiences, clients, policies []object
	for name, lifetime := range map[string]time.Duration{Broker: 10 * time.Minute, Brief: brief, Elsewhere: 10 * time.Minute} {
		audiences = append(audiences, object{
			"name": name, "format": "jwt", "lifetime": lifetime.String(), "encryption": object{"id": "e1", "file": "shared.key"},
		})
		for client, scope := range cfg.Clients {
			policies = append(policies, object{"client": client, "audience": name, "scope": scope})
		}
	}
	for client := range cfg.Clients {
		clients = append(clients, object{"id": client, "secret": hash})
	}
	return json.Marshal(object{
		"issuer": issuer, "listen": s.addresses["as"], "certificate": "server.pem", "private_key": "server-key.pem", "state": "as.db",
		"signing_keys": []object{{"id": "s1", "file": "signing.pem"}},
		"audiences":    audiences, "clients": clients, "policies": policies,
	})
}

// gatewayConfig is the file of a gateway.
func (s *Site) gatewayConfig(cfg Config, gateway int, upstream string) string {
	address := func(name string) string { return s.addresses[at(gateway, name)] }
	limits := cfg.Limits
	if limits == "" {
		limits = "{pending_per_address: 1024}"
	}
	password := ""
	if cfg.Password != "" {
		password = ", password_file: broker.pass"
	}
	return fmt.Sprintf(`
admin: {address: %q}
upstream: {url: %q%s}
limits: %s
drain: 0s
listeners:
  - {name: plain, address: %q}
  - {name: tls, address: %q, tls: {certificate: server.pem, key: server-key.pem}}
  - {name: psk, address: %q, psk: {keys: psk.txt, identity_as_username: true}}
  - name: tokens
    address: %q
    tls: {certificate: server.pem, key: server-key.pem}
    scheme: ace
    ace: {issuer: %q, audience: [%s, %s], algorithms: [EdDSA, A256GCM], keys: jwks.json, authz_info: true}
  - name: passwords
    address: %q
    scheme: mqttauth
    mqttauth: {server: %q, users: users.txt, store: %s.db, hop: aes}
`, address("admin"), upstream, password, limits, address(Plain), address(TLS), address(PSK), address(Tokens),
		issuer, Broker, Brief, address(Passwords), Authority, at(gateway, "gateway"))
}
