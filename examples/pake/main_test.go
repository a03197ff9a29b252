package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary stand in for the program, so that the tests
// talk to real processes.
func TestMain(m *testing.M) {
	if os.Getenv("PAKE_EXAMPLE") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	executable, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(context.Background(), executable, args...)
	cmd.Env = append(os.Environ(), "PAKE_EXAMPLE=1")
	return cmd
}

// files makes the files of a server with one user, alice.
func files(t *testing.T) (verifiers, decoys, right, wrong string) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	right, wrong = write("right", "correct horse\n"), write("wrong", "battery staple\n")
	verifiers = filepath.Join(dir, "verifiers")
	for _, user := range []string{"alice", "bob", "alice"} {
		said, err := program(t, "enrol", "-user", user, "-password", right, "-verifiers", verifiers).CombinedOutput()
		require.NoError(t, err)
		require.Empty(t, said, "a verifier is secret")
	}
	lines, err := os.ReadFile(verifiers)
	require.NoError(t, err)
	require.Regexp(t, `^alice augpake-p256 \S+\nbob augpake-p256 \S+\nalice augpake-p256 \S+\n$`, string(lines))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(verifiers)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	return verifiers, filepath.Join(dir, "decoys"), right, wrong
}

var fingerprints = regexp.MustCompile(`key ([0-9a-f]{16})\n`)

// TestOverTCP: the right password, the wrong one, a name nobody has; and what
// either side prints.
func TestOverTCP(t *testing.T) {
	verifiers, decoys, right, wrong := files(t)
	server := program(t, "serve", "-verifiers", verifiers, "-decoys", decoys, "-listen", "127.0.0.1:0")
	stderr, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	defer func() { server.Process.Kill(); server.Wait() }()
	said := bufio.NewReader(stderr)
	listening, err := said.ReadString('\n')
	require.NoError(t, err)
	address := strings.TrimSpace(strings.TrimPrefix(listening, "listening on "))
	login := func(user, password string) (client, server string, err error) {
		out, err := program(t, "login", "-user", user, "-password", password, "-connect", address).CombinedOutput()
		line, readErr := said.ReadString('\n')
		require.NoError(t, readErr)
		return string(out), line, err
	}

	clientSaid, serverSaid, err := login("alice", right)
	require.NoError(t, err, clientSaid)
	require.Equal(t, fingerprints.FindString(clientSaid), fingerprints.FindString(serverSaid))
	require.NotEmpty(t, fingerprints.FindString(clientSaid))

	wrongClient, wrongServer, err := login("alice", wrong)
	require.Error(t, err)
	strangerClient, strangerServer, err := login("nobody", right)
	require.Error(t, err)
	require.Equal(t, wrongClient, strangerClient)
	require.Equal(t, wrongServer, strangerServer)
	limited := false
	for range 20 { // each wait is twice as long, so even a slow machine comes to one
		said, serverSaid, err := login("alice", wrong)
		require.Error(t, err)
		require.Equal(t, wrongClient, said)
		if limited = strings.Contains(serverSaid, "too many attempts"); limited {
			break
		}
	}
	require.True(t, limited)
	stored, err := os.ReadFile(verifiers)
	require.NoError(t, err)
	for _, said := range []string{clientSaid, serverSaid, wrongClient, wrongServer} {
		require.NotContains(t, said, "horse")
		require.NotContains(t, said, "staple")
		for _, word := range strings.Fields(string(stored)) {
			if len(word) > 40 {
				require.NotContains(t, said, word)
			}
		}
	}
}

func TestSource(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:1883":           "192.0.2.1",
		"[::ffff:192.0.2.1]:1883":  "192.0.2.1",
		"[2001:db8:1:2:3::4]:1883": "2001:db8:1:2::/64",
		"[2001:db8:1:2:5::6]:1884": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1883":      "fe80::/64",
	} {
		at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
		require.Equal(t, want, source(at), address)
	}
}

// TestOverPipes joins standard input and output of two processes.
func TestOverPipes(t *testing.T) {
	verifiers, decoys, right, _ := files(t)
	server := program(t, "serve", "-verifiers", verifiers, "-decoys", decoys)
	client := program(t, "login", "-user", "alice", "-password", right)
	var serverSaid, clientSaid bytes.Buffer
	server.Stderr, client.Stderr = &serverSaid, &clientSaid
	toClient, fromServer := pipe(t)
	toServer, fromClient := pipe(t)
	server.Stdin, server.Stdout = toServer, fromServer
	client.Stdin, client.Stdout = toClient, fromClient
	require.NoError(t, server.Start())
	require.NoError(t, client.Start())
	for _, end := range []io.Closer{toClient, fromServer, toServer, fromClient} {
		require.NoError(t, end.Close())
	}
	require.NoError(t, client.Wait(), clientSaid.String())
	require.NoError(t, server.Wait(), serverSaid.String())
	require.NotEmpty(t, fingerprints.FindString(clientSaid.String()))
	require.Equal(t, fingerprints.FindString(clientSaid.String()), fingerprints.FindString(serverSaid.String()))
}

func pipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	return r, w
}

func TestReceiveIsBounded(t *testing.T) {
	_, err := receive(bytes.NewReader([]byte{0xff, 0xff}))
	require.Error(t, err)
	require.Error(t, send(io.Discard, make([]byte, maxMessage+1)))
	_, err = receive(bytes.NewReader([]byte{0, 5, 1, 2}))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestUsage(t *testing.T) {
	require.EqualError(t, command(nil), usage)
	require.EqualError(t, command([]string{"frobnicate"}), usage)
	require.Error(t, command([]string{"enrol", "-user", "two words"}))
	require.Error(t, command([]string{"login", "-password", "/nonexistent/file"}))
	require.Error(t, command([]string{"serve", "-verifiers", "/nonexistent/file"}))
}
