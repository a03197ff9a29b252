package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waiting bounds what only a failure makes last.
const waiting = time.Minute

// psk runs the program and returns what it printed.
func psk(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, args, &out, &out)
	return out.String(), err
}

// keyFile is a file with new keys, as -new makes their lines.
func keyFile(t *testing.T, identities ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "psk")
	var lines strings.Builder
	for _, identity := range identities {
		line, err := psk(t, "-new", identity)
		require.NoError(t, err)
		require.Regexp(t, `^[^:]+:[0-9a-f]{64}\n$`, line)
		lines.WriteString(line)
	}
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	return file
}

// A background is the program while it runs, and what it prints.
type background struct {
	t     *testing.T
	lines chan string
	stop  func() error
}

func start(t *testing.T, args ...string) *background {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, args, w, w)
		_ = w.Close()
		ended <- err
	}()
	b := &background{t: t, lines: make(chan string, 100)}
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			b.lines <- lines.Text()
		}
		close(b.lines)
	}()
	b.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(waiting):
			return errors.New("it does not end")
		}
	}
	t.Cleanup(func() { _ = b.stop() })
	return b
}

// expect returns the submatches of the first line that matches.
func (b *background) expect(pattern string) []string {
	b.t.Helper()
	re := regexp.MustCompile(pattern)
	for timeout := time.After(waiting); ; {
		select {
		case line, ok := <-b.lines:
			require.True(b.t, ok, "it ended without printing %s", pattern)
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-timeout:
			require.Fail(b.t, "it did not print "+pattern)
		}
	}
}

func TestBrokerAndClients(t *testing.T) {
	file := keyFile(t, "sensor-1", "sensor-2")
	broker := start(t, "-serve", "127.0.0.1:0", "-psk-file", file)
	url := "mqtts://" + broker.expect(`listening on (\S+), 2 keys`)[1]
	subscriber := start(t, "-broker", url, "-identity", "sensor-1", "-psk-file", file, "-topic", "home/#")
	broker.expect(`"sensor-1", TLS 1.3`)

	subscriber.expect(`subscribed to home/#`)
	_, err := psk(t, "-broker", url, "-identity", "sensor-2", "-psk-file", file, "-topic", "home/door", "-publish", "open", "-tls12")
	require.NoError(t, err)
	subscriber.expect(`^home/door open$`)
	broker.expect(`"sensor-2", TLS 1.2`)

	other := keyFile(t, "sensor-1", "sensor-3")
	_, err = psk(t, "-broker", url, "-identity", "sensor-1", "-psk-file", other, "-topic", "a", "-publish", "x")
	require.ErrorContains(t, err, "decrypt_error", "a wrong key")
	broker.expect("the peer does not have the key")
	_, err = psk(t, "-broker", url, "-identity", "sensor-3", "-psk-file", other, "-topic", "a", "-publish", "x")
	require.ErrorContains(t, err, "decrypt_error", "an unknown identity looks the same")
	broker.expect("unknown identity")
	_, err = psk(t, "-broker", url, "-identity", "sensor-9", "-psk-file", other, "-topic", "a", "-publish", "x")
	require.ErrorContains(t, err, `no key for "sensor-9"`)

	require.NoError(t, subscriber.stop())
	require.NoError(t, broker.stop())
}

// TestMosquittoClients publishes with mosquitto_pub to the broker of the example.
func TestMosquittoClients(t *testing.T) {
	program, err := exec.LookPath("mosquitto_pub")
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	file := keyFile(t, "sensor-1")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, key, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
	broker := start(t, "-serve", "127.0.0.1:0", "-psk-file", file)
	at := broker.expect(`listening on (127.0.0.1):(\d+)`)
	out, err := exec.Command(program, "-h", at[1], "-p", at[2], "--psk-identity", "sensor-1", "--psk", key, "-q", "1", "-t", "a", "-m", "x").CombinedOutput()
	require.NoError(t, err, string(out))
	broker.expect(`"sensor-1", TLS 1.3`)
}

func TestRefusesWrongOptions(t *testing.T) {
	file := keyFile(t, "sensor-1")
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"nothing":        {nil, "-new, -serve and -broker"},
		"two modes":      {[]string{"-serve", ":0", "-broker", "mqtts://localhost:1"}, "one of"},
		"no file":        {[]string{"-serve", ":0"}, "-psk-file is missing"},
		"no identity":    {[]string{"-broker", "mqtts://localhost:1", "-psk-file", file, "-topic", "t"}, "-identity is missing"},
		"no topic":       {[]string{"-broker", "mqtts://localhost:1", "-psk-file", file, "-identity", "sensor-1"}, "-topic is missing"},
		"plain broker":   {[]string{"-broker", "mqtt://localhost:1", "-psk-file", file, "-identity", "sensor-1", "-topic", "t"}, "want mqtts://"},
		"identity":       {[]string{"-new", "a:b"}, "no colon"},
		"argument":       {[]string{"-new", "a", "b"}, `unexpected argument "b"`},
		"unknown option": {[]string{"-fast"}, "-fast"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := psk(t, test.args...)
			require.ErrorIs(t, err, errUsage)
			require.Contains(t, out, test.says)
		})
	}
	help, err := psk(t, "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help, "use_identity_as_username true")
	_, err = psk(t, "-serve", ":0", "-psk-file", "none")
	require.ErrorIs(t, err, os.ErrNotExist)
}
