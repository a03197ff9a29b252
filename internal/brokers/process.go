package brokers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ErrNotInstalled is returned by the functions that start a broker in a process where its program is not installed.
var ErrNotInstalled = errors.New("brokers: not installed")

// A process is a child process whose output is kept.
type process struct {
	name    string
	command *exec.Cmd
	log     *logbook
	ended   chan struct{} // closed when it has said its last
}

// spawn starts command.
func spawn(name string, command *exec.Cmd) (*process, error) {
	said, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("brokers: %s: %w", name, err)
	}
	p := &process{name: name, command: command, log: newLogbook(), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.log.follow(said)
	}()
	return p, nil
}

// await repeats attempt until it succeeds. A process that ends before is an error that quotes what it said.
func (p *process) await(ctx context.Context, attempt func() error) error {
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.ended:
			return fmt.Errorf("brokers: %s has ended: %s", p.name, p.quote())
		case <-ctx.Done():
			return fmt.Errorf("brokers: %s takes no client: %w: %s", p.name, err, p.quote())
		}
	}
}

// brief is how long a process whose state nobody wants any more may take to end, and an answer to a probe, which is
// repeated.
const brief = 10 * time.Second

// quote is the end of what the process has said.
func (p *process) quote() string {
	const quoted = 40
	lines := p.log.all()
	return "\n" + strings.Join(lines[max(0, len(lines)-quoted):], "\n")
}

// stop asks the process to end, kills it if it does not, and returns when it is gone.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails if it is gone already
	kill := time.AfterFunc(brief, func() { _ = p.command.Process.Kill() })
	defer kill.Stop()
	<-p.ended            // Wait must not be called before everything is read
	_ = p.command.Wait() // says how it was ended
}

// kill ends the process without warning, and returns when it is gone.
func (p *process) kill() {
	_ = p.command.Process.Kill() // fails if it is gone already
	<-p.ended
	_ = p.command.Wait() // says how it was ended
}

// listening tells whether somebody accepts connections at host.
func listening(ctx context.Context, host string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	return conn.Close()
}

// greeted connects as an MQTT 3.1.1 client, by name if user has one, and tells why it is not welcome.
func greeted(ctx context.Context, host, user string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(brief))
	flags, rest := byte(0x02), "\x00\x05probe"
	if user != "" {
		flags, rest = 0xC2, rest+"\x00"+string(rune(len(user)))+user+"\x00\x01x"
	}
	rest = "\x00\x04MQTT\x04" + string([]byte{flags}) + "\x00\x3c" + rest
	if _, err := io.WriteString(conn, "\x10"+string([]byte{byte(len(rest))})+rest); err != nil {
		return err
	}
	var connack [4]byte
	if _, err := io.ReadFull(conn, connack[:]); err != nil {
		return err
	}
	if connack != [4]byte{0x20, 2, 0, 0} {
		return fmt.Errorf("CONNACK %x", connack)
	}
	return nil
}
