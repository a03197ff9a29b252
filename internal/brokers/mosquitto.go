package brokers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// ErrNoMosquitto is returned by [StartMosquitto] where the program mosquitto is not installed.
var ErrNoMosquitto = errors.New("brokers: mosquitto is not installed")

// Mosquitto is Eclipse Mosquitto in a child process. It implements [Broker].
type Mosquitto struct {
	program   string
	authority *ca.Authority
	tls       *tls.Config
	dir       string
	urls      map[string]*url.URL
	ports     ports.Set
	process   *exec.Cmd // nil while stopped
	log       *logbook
	read      chan struct{} // closed when the process said its last
}

// MosquittoConfig adds to the configuration of [Mosquitto]. In lines and contents of files, {dir} stands for the
// broker's directory, in which ca.pem, broker.pem and broker-key.pem are, besides Files.
type MosquittoConfig struct {
	// Lines of mosquitto.conf come after those of this package and before every listener, so that they change its
	// choices ("allow_anonymous false", "log_type all") and add what holds for all listeners ("psk_file {dir}/psk",
	// "plugin /path/to.so").
	Lines []string
	// Listeners are further ones, by the name that [Mosquitto.URL] finds them by.
	Listeners map[string]MosquittoListener
	// Files are written to the broker's directory, readable for their owner only.
	Files map[string]string
}

// MosquittoListener is a listener of [Mosquitto] on a free port of 127.0.0.1.
type MosquittoListener struct {
	// Scheme is the one of its URL.
	Scheme string
	// Lines follow its listener line: "psk_hint mqttsec", "require_certificate true".
	Lines []string
}

// StartMosquitto starts the mosquitto that is installed on this machine, with its files in a temporary directory. It
// returns when the broker accepts connections. The error wraps [ErrNoMosquitto] if there is none to start.
func StartMosquitto(ctx context.Context, cfg Config) (*Mosquitto, error) {
	program, err := findMosquitto()
	if err != nil {
		return nil, err
	}
	authority, err := cfg.authority()
	if err != nil {
		return nil, err
	}
	presents, err := authority.ServerConfig()
	if err != nil {
		return nil, err
	}
	b := &Mosquitto{program: program, authority: authority, tls: presents}
	if err = b.prepare(cfg); err == nil {
		err = b.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
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
	names := []string{TCP, TLS, WS, WSS}
	for name := range cfg.Mosquitto.Listeners {
		names = append(names, name)
	}
	if b.urls, err = addresses(&b.ports, dir, names); err != nil {
		return err
	}
	for name, listener := range cfg.Mosquitto.Listeners {
		b.urls[name].Scheme = listener.Scheme
	}
	current, err := user.Current()
	if err != nil {
		return err
	}
	if _, err = b.authority.WriteFile(dir); err != nil {
		return err
	}
	if _, _, err = ca.WriteFiles(dir, "broker", b.tls.Certificates[0]); err != nil {
		return err
	}
	for name, text := range cfg.Mosquitto.Files {
		if err := b.write(name, text); err != nil {
			return err
		}
	}
	return b.write("conf", b.configuration(cfg, current.Username))
}

// write writes a file of the broker's directory.
func (b *Mosquitto) write(name, text string) error {
	text = strings.ReplaceAll(text, "{dir}", b.dir)
	return os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600)
}

// configuration is the text of mosquitto.conf. The TCP listener comes first: a broker with nothing but WebSocket
// listeners refuses to start.
func (b *Mosquitto) configuration(cfg Config, username string) string {
	const certificates = "certfile {dir}/broker.pem\nkeyfile {dir}/broker-key.pem\n"
	const websockets = "protocol websockets\nsocket_domain ipv4\n"
	var conf strings.Builder
	fmt.Fprintf(&conf, "user %s\n", username) // else a broker started as root becomes one that cannot read its files
	conf.WriteString("persistence true\npersistence_location {dir}/\n")
	conf.WriteString("log_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n")
	conf.WriteString("allow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n")
	if cfg.MaximumPacketSize > 0 {
		fmt.Fprintf(&conf, "max_packet_size %d\n", cfg.MaximumPacketSize)
	}
	for _, line := range cfg.Mosquitto.Lines {
		fmt.Fprintln(&conf, line)
	}
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n", b.urls[TCP].Port())
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s", b.urls[TLS].Port(), certificates)
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s", b.urls[WS].Port(), websockets)
	fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s%s", b.urls[WSS].Port(), websockets, certificates)
	fmt.Fprintf(&conf, "listener 0 %s\n", b.urls[Unix].Path)
	for name, listener := range cfg.Mosquitto.Listeners {
		fmt.Fprintf(&conf, "listener %s 127.0.0.1\n%s\n", b.urls[name].Port(), strings.Join(listener.Lines, "\n"))
	}
	return conf.String()
}

// Name returns "mosquitto".
func (b *Mosquitto) Name() string { return "mosquitto" }

// URL is the address of the listener for a transport or of one that [MosquittoConfig] names, nil for an unknown one.
func (b *Mosquitto) URL(transport string) *url.URL { return copied(b.urls[transport]) }

// Dir is the broker's directory, for programs that want its ca.pem.
func (b *Mosquitto) Dir() string { return b.dir }

// RootCAs verifies the certificate that the tls and wss listeners present.
func (b *Mosquitto) RootCAs() *x509.CertPool { return b.authority.Pool() }

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
	log, read := newLogbook(), make(chan struct{})
	b.log, b.read = log, read
	go func() {
		defer close(read)
		log.follow(stderr)
	}()
	running := func(line string) bool { return strings.HasSuffix(line, " running") } // with all its listeners
	if _, err := log.await(ctx, running); err != nil {
		return errors.Join(fmt.Errorf("brokers: mosquitto did not start: %w", err), b.Stop())
	}
	return nil
}

// Log is what the broker has said since it was started the last time, the last 10,000 lines at least if there are more.
func (b *Mosquitto) Log() []string { return b.log.all() }

// AwaitLog returns the first line of the log that contains text, among those of [Mosquitto.Log] and those to come.
func (b *Mosquitto) AwaitLog(ctx context.Context, text string) (string, error) {
	return b.log.await(ctx, func(line string) bool { return strings.Contains(line, text) })
}

// orderly is how long the broker may take to write its state to disk and exit.
const orderly = time.Minute

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

// Kill ends the process without warning (SIGKILL). What it has not written to disk is lost; Start starts it again.
func (b *Mosquitto) Kill() error {
	if b.process == nil {
		return nil
	}
	if err := b.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = b.wait() // says that it was killed
	return nil
}

// wait returns when the process is gone.
func (b *Mosquitto) wait() error {
	<-b.read // Wait must not be called before everything is read
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
	return errors.Join(b.ports.Close(), os.RemoveAll(b.dir))
}
