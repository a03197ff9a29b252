package examples_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// programs are built once, by the first test that asks for one.
var programs struct {
	dir   string
	mu    sync.Mutex
	built map[string]func() error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "examples")
	if err != nil {
		log.Fatal(err)
	}
	programs.dir, programs.built = dir, map[string]func() error{}
	code := m.Run()
	_ = os.RemoveAll(dir) // nothing but programs
	os.Exit(code)
}

// built is a program of this directory.
func built(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(programs.dir, name)
	programs.mu.Lock()
	build := programs.built[name]
	if build == nil {
		build = sync.OnceValue(func() error {
			said, err := exec.Command("go", "build", "-o", program, "./"+name).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, said)
			}
			return nil
		})
		programs.built[name] = build
	}
	programs.mu.Unlock()
	require.NoError(t, build())
	return program
}

// TestFailureExitsWith1 gives each program something that fails, in the right form.
func TestFailureExitsWith1(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for name, args := range map[string][]string{
		"as":         {"-config", none},
		"authority":  {"user", "list", "-store", t.TempDir()},
		"bench":      {"-broker", "tcp://127.0.0.1:1", "-rounds", "1"},
		"device":     {"-key", none, "-id", "x", "-store", none, "home/x"},
		"gateway":    {"-config", none},
		"keys":       {"show", "-in", none},
		"pake":       {"serve", "-verifiers", none, "-decoys", filepath.Join(none, "x")},
		"psk":        {"-serve", "127.0.0.1:0", "-psk-file", none},
		"quickstart": {"-broker", "tcp://127.0.0.1:1"},
		"request":    {"-key", none, "home/x", "?"},
		"token":      {"-demo", none, "home/x", "text"},
		"v3":         {"-key", none, "home/x", "text"},
		"v5":         {"-key", none, "home/x", "text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := exec.Command(built(t, name), args...).CombinedOutput()
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit), "%v: %s", err, said)
			require.Equal(t, 1, exit.ExitCode(), "%s", said)
			require.NotEmpty(t, said)
			require.NotContains(t, string(said), "\x1b", "coloured or redrawn, and nobody has a terminal")
			require.NotContains(t, string(said), "\r")
		})
	}
}

// soon bounds what only a failure makes last.
const soon = time.Minute

// TestInterruptEnds interrupts programs at work. They end by themselves.
func TestInterruptEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a process cannot be interrupted by another")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a broker that accepts and never says a word
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	accepted := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	silent := func(t *testing.T) bool {
		select {
		case conn := <-accepted:
			t.Cleanup(func() { _ = conn.Close() })
			return true
		default:
			return false
		}
	}
	dir := t.TempDir()
	// listening connects with the address that the program has said to listen on.
	var said printed
	listening := func(t *testing.T) bool {
		at := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(said.String())
		if at == "" {
			return false
		}
		conn, err := net.Dial("tcp", at)
		require.NoError(t, err)
		_ = conn.Close()
		return true
	}
	written := func(file string) func(*testing.T) bool {
		return func(*testing.T) bool {
			_, err := os.Stat(file)
			return err == nil
		}
	}
	psk := filepath.Join(dir, "psk")
	require.NoError(t, os.WriteFile(psk, []byte("sensor-1:5f0e3c6a9d1b4f7208c5e2a97b36d184\n"), 0o600))
	for _, test := range []struct {
		name string
		args []string
		busy func(*testing.T) bool // tells that the program is at work
		code int
	}{
		{"as", []string{"-demo", filepath.Join(dir, "as")}, written(filepath.Join(dir, "as", "demo.json")), 0},
		{"gateway", []string{"-demo", filepath.Join(dir, "gateway"), "-upstream", "mqtt://" + listener.Addr().String()},
			written(filepath.Join(dir, "gateway", "demo.json")), 0},
		{"authority", []string{"serve", "-server", "broker.example", "-store", filepath.Join(dir, "store"), "-listen", "127.0.0.1:0"},
			listening, 0},
		{"psk", []string{"-serve", "127.0.0.1:0", "-psk-file", psk}, listening, 0},
		{"quickstart", []string{"-broker", "tcp://" + listener.Addr().String()}, silent, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := exec.Command(built(t, test.name), test.args...)
			said.reset()
			command.Stdout, command.Stderr = &said, &said
			ended := started(t, command)
			require.Eventually(t, func() bool { return test.busy(t) }, time.Minute, 5*time.Millisecond)
			require.NoError(t, command.Process.Signal(os.Interrupt))
			select {
			case <-ended:
			case <-time.After(soon):
				require.Fail(t, "it goes on")
			}
			require.Equal(t, test.code, command.ProcessState.ExitCode())
		})
	}
}

// started starts a program, which does not outlive the test. ended is closed at its end, and ProcessState says how it
// ended from then on.
func started(t *testing.T, command *exec.Cmd) (ended <-chan struct{}) {
	t.Helper()
	require.NoError(t, command.Start())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-over
	})
	return over
}

// printed is what a program has said so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *printed) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Reset()
}
