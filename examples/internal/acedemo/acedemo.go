// Package acedemo sets up an Authorization Server with clients, keys and certificates of its own, for programs that
// show tokens at work on one machine, and describes it in a file from which strangers can start.
package acedemo

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// The names of a demo.
const (
	File     = "demo.json"
	Audience = "demo-broker"
)

// Demo is what has been set up. Nothing is served yet.
type Demo struct {
	Dir    string
	AS     net.Listener // of the Authorization Server, on localhost
	TLS    *tls.Config  // of all servers: a certificate for localhost
	Server aceserver.Config

	description description
}

// description is demo.json: what a client has to know.
type description struct {
	AS       string   `json:"as"`
	Broker   string   `json:"broker"`
	Admin    string   `json:"admin,omitempty"`
	CA       string   `json:"ca"` // relative to the directory
	Lifetime int      `json:"lifetime"`
	Clients  []client `json:"clients"`
}

type client struct {
	ID       string          `json:"client_id"`
	Secret   string          `json:"client_secret"`
	Audience string          `json:"audience"`
	Scope    aceserver.Scope `json:"scope"`
}

// clients may do this, which is also what they get if they ask for no scope.
func clients() []client {
	return []client{
		{ID: "device1", Audience: Audience, Scope: aceserver.Scope{
			{Filter: "demo/device1/state", Publish: true},
			{Filter: "demo/+/state", Subscribe: true},
		}},
		{ID: "device2", Audience: Audience, Scope: aceserver.Scope{
			{Filter: "demo/device2/state", Publish: true},
			{Filter: "demo/device1/#", Subscribe: true},
		}},
	}
}

// New sets up a demo whose tokens live for lifetime. It makes dir if it is not there, and takes away what says of an
// earlier demo how to reach it: whoever waits for the file must not see that one.
func New(dir string, lifetime time.Duration) (*Demo, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	authority, err := ca.New()
	if err != nil {
		return nil, err
	}
	caFile, err := authority.WriteFile(dir)
	if err != nil {
		return nil, err
	}
	certificate, err := authority.Issue(ca.Subject{})
	if err != nil {
		return nil, err
	}
	d := &Demo{Dir: dir, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}
	if d.AS, err = net.Listen("tcp", "localhost:0"); err != nil {
		return nil, err
	}
	d.description = description{
		AS: "https://" + local(d.AS), CA: filepath.Base(caFile), Lifetime: int(lifetime / time.Second), Clients: clients(),
	}
	if d.Server, err = config(d.description, lifetime); err != nil {
		return nil, errors.Join(err, d.AS.Close())
	}
	return d, nil
}

// local is where a listener can be reached under the name that the certificate has.
func local(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String() // not with TCP
	}
	return net.JoinHostPort("localhost", port)
}

// config makes keys and secrets, the latter in d.
func config(d description, lifetime time.Duration) (aceserver.Config, error) {
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return aceserver.Config{}, err
	}
	shared := make([]byte, 32)
	rand.Read(shared) // never fails
	cfg := aceserver.Config{
		Issuer: d.AS,
		Store:  store.NewMemory(),
		Keys:   []aceserver.SigningKey{{ID: "demo-signing", Key: signing}},
		Audiences: []aceserver.Audience{{
			Name:       Audience,
			Lifetime:   lifetime,
			Encryption: aceserver.TokenKey{ID: "demo-broker", Secret: shared},
		}},
	}
	cfg.Limits.Client = aceserver.Rate{Interval: 10 * time.Millisecond, Burst: 200} // for those who try it by a script
	cfg.Limits.Address = cfg.Limits.Client
	for i := range d.Clients {
		c := &d.Clients[i]
		var hash aceserver.SecretHash
		c.Secret, hash = aceserver.NewSecret()
		cfg.Clients = append(cfg.Clients, aceserver.Client{ID: c.ID, Credential: aceserver.Credential{Secret: hash}})
		cfg.Policies = append(cfg.Policies, aceserver.Policy{Client: c.ID, Audience: c.Audience, Scope: c.Scope})
	}
	return cfg, nil
}

// Guard is what a broker half has to know of the demo's server.
func (d *Demo) Guard() acebroker.Config {
	keys, algorithms := Keys(d.Server, d.Server.Audiences[0])
	return acebroker.Config{
		Algorithms: algorithms,
		Issuers:    []acebroker.Issuer{{Name: d.Server.Issuer, Keys: keys}},
		Audience:   []string{Audience},
		Hint:       &acebroker.Hint{AS: d.Server.Issuer + "/token", Audience: Audience},
	}
}

// Keys are the keys that tokens for an audience are signed and encrypted with, and their algorithms.
func Keys(cfg aceserver.Config, audience aceserver.Audience) (keys acebroker.StaticKeys, algorithms []acebroker.Algorithm) {
	seen := map[acebroker.Algorithm]bool{}
	add := func(key acebroker.Key) {
		keys = append(keys, key)
		if !seen[key.Algorithm] {
			seen[key.Algorithm] = true
			algorithms = append(algorithms, key.Algorithm)
		}
	}
	for _, key := range cfg.Keys {
		algorithm := acebroker.ES256
		if _, ok := key.Key.Public().(ed25519.PublicKey); ok {
			algorithm = acebroker.EdDSA
		}
		add(acebroker.Key{ID: key.ID, Algorithm: algorithm, Key: key.Key.Public()})
	}
	if audience.Encryption.Secret != nil {
		add(acebroker.Key{ID: audience.Encryption.ID, Algorithm: acebroker.A256GCM, Key: audience.Encryption.Secret})
	}
	return keys, algorithms
}

// Write says in demo.json how to reach everything, whole or not at all; admin is a URL or empty. What it returns tells
// a person what to do with it.
func (d *Demo) Write(broker net.Listener, admin string) (advice string, err error) {
	d.description.Broker, d.description.Admin = "mqtts://"+local(broker), admin
	text, err := json.MarshalIndent(d.description, "", "  ")
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(d.Dir, File+".*") // for its owner's eyes only: there are secrets in it
	if err != nil {
		return "", err
	}
	named := filepath.Join(d.Dir, File)
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), named)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return fmt.Sprintf("%s says how to reach server and broker. A token of the first client:\n\n  %s\n\nUntil you interrupt it.\n",
		named, d.curl()), nil
}

// curl is a command that gets a token. The secret is on its command line, which is no way to treat one that matters.
func (d *Demo) curl() string {
	first := d.description.Clients[0]
	return fmt.Sprintf("curl --cacert %s -u %s:%s -H 'Content-Type: application/ace+json' -d %s %s/token",
		Quote(filepath.Join(d.Dir, d.description.CA)), first.ID, first.Secret, Quote(`{"audience": "`+first.Audience+`"}`), d.description.AS)
}

// Quote makes text one word of a shell.
func Quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
