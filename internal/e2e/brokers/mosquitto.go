package brokers

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNoMosquitto is returned by [StartMosquitto] where the program mosquitto is not installed.
var ErrNoMosquitto = errors.New("brokers: mosquitto is not installed")

// Mosquitto is Eclipse Mosquitto in a child process. It implements [Broker].
type Mosquitto struct {
	program   string
	authority *authority
	dir       string
	urls      map[string]*url.URL
	process   *exec.Cmd // nil while stopped
	log       chan error
}

// StartMosquitto starts the mosquitto that is installed on this machine, with its files in a temporary directory. It
// returns when the broker accepts connections. The error wraps [ErrNoMosquitto] if there is none to start.
func StartMosquitto(ctx context.Context, cfg Config) (*Mosquitto, error) {
	program, err := findMosquitto()
	if err != nil {
		return nil, err
	}
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	// A port that was free a moment ago may be taken when the broker asks for it: then another one is tried.
	const attempts = 5
	for range attempts {
		b := &Mosquitto{program: program, authority: authority}
		if err = b.prepare(cfg); err == nil {
			err = b.Start(ctx)
		}
		if err == nil {
			return b, nil
		}
		err = errors.Join(err, b.Close())
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func findMosquitto() (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", ErrNoMosquitto
}

// prepare chooses ports and writes the configuration.
func (b *Mosquitto) prepare(cfg Config) error {
	dir, err := os.MkdirTemp("", "mosquitto")
	if err != nil {
		return err
	}
	b.dir = dir
	if b.urls, err = addresses(dir); err != nil {
		return err
	}
	root, certificate, key, err := b.authority.pems()
	if err != nil {
		return err
	}
	current, err := user.Current()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "ca.pem"), root, 0o600),
		os.WriteFile(filepath.Join(dir, "cert.pem"), certificate, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600),
		os.WriteFile(filepath.Join(dir, "conf"), []byte(b.configuration(cfg, current.Username)), 0o600),
	)
}

// configuration is the text of mosquitto.conf. The TCP listener comes first: a broker with nothing but WebSocket
// listeners refuses to start.
func (b *Mosquitto) configuration(cfg Config, username string) string {
	certificates := fmt.Sprintf("cafile %[1]s/ca.pem\ncertfile %[1]s/cert.pem\nkeyfile %[1]s/key.pem\n", b.dir)
	const websockets = "protocol websockets\nsocket_domain ipv4\n"
	var conf strings.Builder
	fmt.Fprintf(&conf, "user %s\n", username) // else a broker started as root becomes one that cannot read its files
	fmt.Fprintf(&conf, "persistence true\npersistence_location %s/\n", b.dir)
	conf.WriteString("log_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n")
	conf.WriteString("allow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n")
	if cfg.MaximumPacketSize > 0 {
		fmt.Fprintf(&conf, "max_packet_size %d\n", cfg.MaximumPacketSize)
	}
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n", b.urls[TCP].Port())
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s", b.urls[TLS].Port(), certificates)
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s", b.urls[WS].Port(), websockets)
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s%s", b.urls[WSS].Port(), websockets, certificates)
	fmt.Fprintf(&conf, "listener 0 %s\n", b.urls[Unix].Path)
	return conf.String()
}

// Name returns "mosquitto".
func (b *Mosquitto) Name() string { return "mosquitto" }

// URL is the address of the listener for a transport, nil for an unknown one.
func (b *Mosquitto) URL(transport string) *url.URL { return copied(b.urls[transport]) }

// RootCAs verifies the certificate that the tls and wss listeners present.
func (b *Mosquitto) RootCAs() *x509.CertPool { return b.authority.pool() }

// Start starts the broker again after Stop, on the same addresses, and returns when it accepts connections.
func (b *Mosquitto) Start(ctx context.Context) error {
	process := exec.Command(b.program, "-c", filepath.Join(b.dir, "conf"))
	stderr, err := process.StderrPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	b.process = process
	ready := make(chan struct{})
	b.log = make(chan error, 1)
	go func() { b.log <- follow(stderr, ready) }()
	select {
	case <-ready:
		return nil
	case err := <-b.log:
		b.log <- err
		return errors.Join(err, b.Stop())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), b.Stop())
	}
}

// follow reads the broker's log to its end and closes ready at the line that says all listeners are open. A log that
// ends before that is an error which quotes it.
func follow(log io.Reader, ready chan<- struct{}) error {
	var start strings.Builder
	running := false
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if running {
			continue
		}
		fmt.Fprintln(&start, lines.Text())
		if strings.HasSuffix(lines.Text(), " running") {
			running = true
			close(ready)
		}
	}
	if !running {
		return fmt.Errorf("brokers: mosquitto did not start:\n%s", start.String())
	}
	return nil
}

// orderly is how long the broker may take to write its state to disk and exit.
const orderly = 10 * time.Second

// Stop ends the process in the orderly way, in which it writes its sessions and retained messages to disk. One that
// does not react is killed, which is an error.
func (b *Mosquitto) Stop() error {
	if b.process == nil {
		return nil
	}
	process := b.process.Process
	_ = process.Signal(syscall.SIGTERM) // fails if it is gone already, which Wait will tell
	kill := time.AfterFunc(orderly, func() { _ = process.Kill() })
	defer kill.Stop()
	return b.wait()
}

// wait returns when the process is gone.
func (b *Mosquitto) wait() error {
	<-b.log // Wait must not be called before everything is read
	err := b.process.Wait()
	b.process = nil
	return err
}

// Close ends the process, which needs no state any more, and removes its directory.
func (b *Mosquitto) Close() error {
	if b.process != nil {
		_ = b.process.Process.Kill()
		_ = b.wait() // says that it was killed
	}
	return os.RemoveAll(b.dir)
}
