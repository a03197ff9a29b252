package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// The demo's names.
const (
	demoFile     = "demo.json"
	demoAudience = "demo-broker"
)

// description is demo.json: what a client has to know.
type description struct {
	AS       string       `json:"as"`
	Broker   string       `json:"broker"`
	CA       string       `json:"ca"` // relative to the directory
	Lifetime int          `json:"lifetime"`
	Clients  []demoClient `json:"clients"`
}

type demoClient struct {
	ID       string          `json:"client_id"`
	Secret   string          `json:"client_secret"`
	Audience string          `json:"audience"`
	Scope    aceserver.Scope `json:"scope"`
}

// demoClients may do this, which is also what they get if they ask for no scope.
func demoClients() []demoClient {
	return []demoClient{
		{ID: "device1", Audience: demoAudience, Scope: aceserver.Scope{
			{Filter: "demo/device1/state", Publish: true},
			{Filter: "demo/+/state", Subscribe: true},
		}},
		{ID: "device2", Audience: demoAudience, Scope: aceserver.Scope{
			{Filter: "demo/device2/state", Publish: true},
			{Filter: "demo/device1/#", Subscribe: true},
		}},
	}
}

// demo runs everything on free ports of this machine until ctx ends.
func demo(ctx context.Context, o options, stdout io.Writer, log *slog.Logger) (err error) {
	if err := os.MkdirAll(o.demo, 0o755); err != nil {
		return err
	}
	// Whoever waits for the file must not see that of an earlier demo.
	if err := os.Remove(filepath.Join(o.demo, demoFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	at := site{stdout: stdout, log: log}
	authority, err := ca.New()
	if err != nil {
		return err
	}
	caFile, err := authority.WriteFile(o.demo)
	if err != nil {
		return err
	}
	certificate, err := authority.Issue(ca.Subject{})
	if err != nil {
		return err
	}
	at.tls = serverTLS(certificate)
	if at.as, err = net.Listen("tcp", "localhost:0"); err != nil {
		return err
	}
	if at.broker, err = net.Listen("tcp", "localhost:0"); err != nil {
		return errors.Join(err, at.as.Close())
	}
	cfg, clients, err := demoConfig(at.url("localhost"), o.lifetime)
	if err != nil {
		return errors.Join(err, at.close())
	}
	cfg.Log = log
	service, err := newService(cfg, demoAudience, at)
	if err != nil {
		return errors.Join(err, at.close())
	}
	return service.serve(ctx, func() error {
		d := description{
			AS:       at.url("localhost"),
			Broker:   "mqtts://localhost:" + port(at.broker),
			CA:       filepath.Base(caFile),
			Lifetime: int(o.lifetime / time.Second),
			Clients:  clients,
		}
		if err := d.write(o.demo); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s says how to reach server and broker. A token of the first client:\n\n  %s\n\nUntil you interrupt it.\n",
			filepath.Join(o.demo, demoFile), d.curl(o.demo))
		return nil
	})
}

// demoConfig makes keys and secrets.
func demoConfig(issuer string, lifetime time.Duration) (aceserver.Config, []demoClient, error) {
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return aceserver.Config{}, nil, err
	}
	shared := make([]byte, 32)
	rand.Read(shared) // never fails
	cfg := aceserver.Config{
		Issuer: issuer,
		Store:  store.NewMemory(),
		Keys:   []aceserver.SigningKey{{ID: "demo-signing", Key: signing}},
		Audiences: []aceserver.Audience{{
			Name:       demoAudience,
			Lifetime:   lifetime,
			Encryption: aceserver.TokenKey{ID: "demo-broker", Secret: shared},
		}},
	}
	cfg.Limits.Client = aceserver.Rate{Interval: 10 * time.Millisecond, Burst: 200} // for those who try it by a script
	cfg.Limits.Address = cfg.Limits.Client
	clients := demoClients()
	for i := range clients {
		c := &clients[i]
		var hash aceserver.SecretHash
		c.Secret, hash = aceserver.NewSecret()
		cfg.Clients = append(cfg.Clients, aceserver.Client{ID: c.ID, Credential: aceserver.Credential{Secret: hash}})
		cfg.Policies = append(cfg.Policies, aceserver.Policy{Client: c.ID, Audience: c.Audience, Scope: c.Scope})
	}
	return cfg, clients, nil
}

// write puts the description where it belongs, whole or not at all.
func (d description) write(dir string) error {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, demoFile+".*") // for its owner's eyes only: there are secrets in it
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, demoFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// curl is a command that gets a token. The secret is on its command line, which is no way to treat one that matters.
func (d description) curl(dir string) string {
	first := d.Clients[0]
	return fmt.Sprintf("curl --cacert %s -u %s:%s -H 'Content-Type: application/ace+json' -d %s %s/token",
		quote(filepath.Join(dir, d.CA)), first.ID, first.Secret, quote(`{"audience": "`+first.Audience+`"}`), d.AS)
}
