package tlspsk

import (
	"bufio"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers/ports"
	"github.com/stretchr/testify/require"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

// program is a TLS program of somebody else, and what it has printed.
type program struct {
	t      *testing.T
	stdin  io.WriteCloser
	mu     sync.Mutex
	text   strings.Builder
	more   chan struct{} // something was printed
	exited chan struct{}
}

// run starts a program that ends with the test. Where it is not installed the test is skipped, but not where MQTTSEC_CI
// is 1.
func run(t *testing.T, name string, args ...string) *program {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	cmd := exec.Command(path, args...)
	p := &program{t: t, more: make(chan struct{}, 1), exited: make(chan struct{})}
	p.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	go func() {
		defer close(p.exited)
		r := bufio.NewReader(out)
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			p.mu.Lock()
			p.text.Write(buf[:n])
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default:
			}
			if err != nil {
				break
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.stdin.Close()
		_ = cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s %s printed:\n%s", name, strings.Join(args, " "), p.printed())
		}
	})
	return p
}

func (p *program) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// say types a line.
func (p *program) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	require.NoError(p.t, err)
}

// expect waits until the program has printed something, and returns the submatches.
func (p *program) expect(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		if m := re.FindStringSubmatch(p.printed()); m != nil {
			return m
		}
		select {
		case <-p.more:
		case <-p.exited:
			if m := re.FindStringSubmatch(p.printed()); m != nil {
				return m
			}
			require.Fail(p.t, "the program ended", "without printing %s", pattern)
		case <-timeout:
			require.Fail(p.t, "time is over", "the program did not print %s", pattern)
		}
	}
}

// wait waits for the program to end by itself.
func (p *program) wait() {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(p.t, "the program did not end")
	}
}

var deviceKeyHex = hex.EncodeToString(deviceKey)

// keyFile is a file in mosquitto's format, which GnuTLS has as well.
func keyFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "psk")
	require.NoError(t, os.WriteFile(name, []byte(deviceName+":"+deviceKeyHex+"\n"), 0o600))
	return name
}

// dial connects to a program's server and runs the handshake.
func dial(t *testing.T, address string, config *Config) (*Conn, error) {
	t.Helper()
	var inner net.Conn
	require.Eventually(t, func() bool { // a program may say that it listens a moment before it does
		var err error
		inner, err = net.Dial("tcp", address)
		return err == nil
	}, patience, time.Millisecond)
	require.NoError(t, inner.SetDeadline(time.Now().Add(patience)))
	conn := Client(inner, config)
	t.Cleanup(func() { _ = conn.Close(); _ = inner.Close() })
	return conn, conn.Handshake()
}

// accepted is one connection that a program made to a server of ours.
type accepted struct {
	conn *Conn
	err  error // of the handshake
}

// serve listens for one connection.
func serve(t *testing.T, config *Config) (host, port string, result <-chan accepted) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	ch := make(chan accepted, 1)
	go func() {
		inner, err := l.Accept()
		if err != nil {
			return
		}
		_ = inner.SetDeadline(time.Now().Add(patience))
		conn := Server(inner, config)
		err = conn.Handshake()
		if err != nil {
			_ = conn.Close()
		}
		ch <- accepted{conn, err}
	}()
	host, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return host, port, ch
}

func receiveAccepted(t *testing.T, ch <-chan accepted) accepted {
	t.Helper()
	select {
	case a := <-ch:
		t.Cleanup(func() { _ = a.conn.Close() })
		return a
	case <-time.After(patience):
		require.Fail(t, "no connection came")
		return accepted{}
	}
}

// line reads up to a newline.
func line(t *testing.T, conn *Conn) string {
	t.Helper()
	var got []byte
	for b := make([]byte, 1); len(got) == 0 || got[len(got)-1] != '\n'; got = append(got, b[0]) {
		_, err := io.ReadFull(conn, b)
		require.NoError(t, err)
	}
	return strings.TrimRight(string(got), "\r\n")
}

func write(t *testing.T, conn *Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

// freePort is a port that a program can listen on as long as the test runs.
func freePort(t *testing.T) string {
	t.Helper()
	var held ports.Set
	t.Cleanup(func() { require.NoError(t, held.Close()) })
	host, err := held.Take()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	return port
}
