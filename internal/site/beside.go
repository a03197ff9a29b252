package site

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/pake"
)

// ErrNoDynamicSecurity is returned by [StartBeside] where mosquitto's dynamic-security plugin is not installed.
var ErrNoDynamicSecurity = errors.New("site: mosquitto's dynamic-security plugin is not installed")

// Beside is an authority of MQTT-Auth (examples/authority) in a process of its own beside a mosquitto that knows
// nothing of it: no gateway, and the broker itself refuses what tokens do not permit.
type Beside struct {
	// Authority is the process. It can be killed.
	Authority *Process
	// Broker is the mosquitto, with its dynamic-security plugin.
	Broker *brokers.Mosquitto

	dir string
}

// Bootstrap is the account, known to everybody, with which devices log in beside a broker.
var Bootstrap = mqttauth.Account{Username: "bootstrap", Password: "bootstrap"}

const (
	administrator         = "admin"
	administratorPassword = "administrator"
)

// StartBeside starts a mosquitto, with more lines of configuration, and an authority beside it for users. Between them
// is what between makes of the broker's address, HOST:PORT of its TLS listener. The error wraps [ErrNoDynamicSecurity]
// or [brokers.ErrNoMosquitto] if there is none to start.
func StartBeside(ctx context.Context, users, lines []string, between func(address string) (string, error)) (*Beside, error) {
	dir, err := os.MkdirTemp("", "beside")
	if err != nil {
		return nil, err
	}
	b := &Beside{dir: dir}
	if err := b.start(ctx, users, lines, between); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Beside) start(ctx context.Context, users, lines []string, between func(string) (string, error)) error {
	plugin, accounts, err := dynamicSecurity(ctx, b.dir)
	if err != nil {
		return err
	}
	b.Broker, err = brokers.StartMosquitto(ctx, brokers.Config{Mosquitto: brokers.MosquittoConfig{
		// Without a bound on what is queued, 2.0.11 drops a client that may not publish.
		Lines: append([]string{"allow_anonymous false", "max_queued_messages 1000000",
			"plugin " + plugin, "plugin_opt_config_file {dir}/dynsec.json"}, lines...),
		Files: map[string]string{"dynsec.json": accounts},
	}})
	if err != nil {
		return err
	}
	address, err := between(b.Broker.URL(brokers.TLS).Host)
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "authority.db")
	if err := enrol(path, users); err != nil {
		return err
	}
	if err := build(ctx, b.dir, "github.com/mqttsec/mqttsec/examples/authority"); err != nil {
		return err
	}
	b.Authority = &Process{name: "authority", env: []string{"MQTT_PASSWORD=" + administratorPassword}, args: []string{
		filepath.Join(b.dir, "authority"), "serve", "-server", Authority, "-store", path, "-user", administrator,
		"-broker", "mqtts://" + address, "-bootstrap", Bootstrap.Username, "-cafile", filepath.Join(b.Broker.Dir(), "ca.pem"),
	}}
	return b.Authority.Start(ctx)
}

// dynamicSecurity finds the plugin and makes the file of its accounts, with an administrator.
func dynamicSecurity(ctx context.Context, dir string) (plugin, accounts string, err error) {
	found, err := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
	control, missing := exec.LookPath("mosquitto_ctrl")
	if err != nil || missing != nil || len(found) == 0 {
		return "", "", errors.Join(ErrNoDynamicSecurity, err, missing)
	}
	path := filepath.Join(dir, "dynsec.json")
	said, err := exec.CommandContext(ctx, control, "dynsec", "init", path, administrator, administratorPassword).CombinedOutput()
	if err != nil {
		return "", "", errors.Join(err, errors.New(string(said)))
	}
	text, err := os.ReadFile(path)
	return found[0], string(text), err
}

// enrol puts users into a store.
func enrol(path string, users []string) error {
	store, err := authbroker.OpenStore(path)
	if err != nil {
		return err
	}
	for _, name := range users {
		v, err := pake.NewVerifier(pake.Config{Stretch: Stretch()}, name, Authority, Password(name))
		if err == nil {
			err = store.SetUser(name, v)
		}
		if err != nil {
			return errors.Join(err, store.Close())
		}
	}
	return store.Close()
}

// Close ends both and removes their files.
func (b *Beside) Close() error {
	var errs []error
	if b.Authority != nil {
		errs = append(errs, b.Authority.Kill())
	}
	if b.Broker != nil {
		errs = append(errs, b.Broker.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}
