package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/bench"
	"github.com/mqttsec/mqttsec/internal/bench/report"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// TestMain lets this program be its own child, as bench is.
func TestMain(m *testing.M) {
	if apart, err := bench.Apart(context.Background(), os.Stdout); apart {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string // part of what is said, "" if all is well
	}{
		"nothing":            {nil, ""},
		"argument":           {[]string{"fast"}, `unexpected argument "fast"`},
		"flag":               {[]string{"-fast"}, "not defined: -fast"},
		"broker":             {[]string{"-broker", "tcp://127.0.0.1"}, ""},
		"broker scheme":      {[]string{"-broker", "http://127.0.0.1"}, "want tcp://host:1883"},
		"broker without":     {[]string{"-broker", "127.0.0.1:1883"}, "-broker"},
		"broker's password":  {[]string{"-broker", "amqp://u:secret@h"}, "amqp://u:xxxxx@h"},
		"cafile missing":     {[]string{"-broker", "ssl://h", "-cafile", "nowhere.pem"}, "-cafile"},
		"cafile without use": {[]string{"-broker", "tcp://h", "-cafile", "main_test.go"}, "no certificate"},
		"only":               {[]string{"-only", "plain, aesmsg"}, ""},
		"only unknown":       {[]string{"-only", "rot13"}, `no "rot13", but plain`},
		"goal":               {[]string{"-goals", "-only", "A1"}, ""},
		"json alone":         {[]string{"-json"}, "goes with -goals"},
		"goal unknown":       {[]string{"-goals", "-only", "Z9"}, `no "Z9", but A1`},
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			_, err := parse(c.args, &said)
			if c.want == "" {
				require.NoError(t, err)
				require.Empty(t, said.String())
				return
			}
			require.ErrorIs(t, err, errUsage)
			require.Contains(t, said.String(), c.want)
			require.NotContains(t, said.String(), "secret")
		})
	}
}

func TestHelp(t *testing.T) {
	var said bytes.Buffer
	_, err := parse([]string{"-h"}, &said)
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, word := range []string{"-broker", "-user", "-password", "-cafile", "-out", "-goals", "-json", "-only", "go run ./examples/bench"} {
		require.Contains(t, said.String(), word)
	}
}

func TestParseUnderstands(t *testing.T) {
	o, err := parse([]string{"-broker", "mqtts://h", "-user", "ann", "-password", "pw", "-rounds", "3", "-only", "TLS"}, os.Stderr)
	require.NoError(t, err)
	require.Equal(t, "h:8883", o.config.Broker.URL.Host)
	require.Equal(t, "ann", o.config.Broker.User)
	require.Equal(t, "pw", o.config.Broker.Password)
	require.Equal(t, 3, o.config.Rounds)
	require.Len(t, o.config.Schemes, 1)
	require.Equal(t, "TLS", o.config.Schemes[0].Name)

	require.Empty(t, o.config.Ways, "none of that name")
	o, err = parse([]string{"-only", "plain,ace"}, os.Stderr)
	require.NoError(t, err)
	require.Len(t, o.config.Schemes, 2)
	require.Len(t, o.config.Ways, 2)

	o, err = parse([]string{"-goals", "-only", "M1,A1"}, os.Stderr)
	require.NoError(t, err)
	require.True(t, o.goals)
	for _, g := range o.chosen {
		require.Contains(t, []string{"A1", "M1"}, g.ID)
	}
	require.Greater(t, len(o.chosen), 2)

	for scheme, port := range map[string]string{"tcp": "1883", "mqtt": "1883", "ssl": "8883", "tls": "8883", "ws": "80", "wss": "443"} {
		b, err := reach(scheme+"://h/mqtt", "", "", "")
		require.NoError(t, err)
		require.Equal(t, "h:"+port, b.URL.Host)
	}
}

// TestThroughABroker goes over TLS to a broker that is not the program's own, and has
// the report of it written.
func TestThroughABroker(t *testing.T) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	dir := t.TempDir()
	cafile := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(cafile, rootPEM(t, broker), 0o600))

	o, err := parse([]string{"-broker", broker.URL(brokers.TLS).String(), "-cafile", cafile, "-rounds", "1", "-only", "TLS,aesmsg over TLS"}, os.Stderr)
	require.NoError(t, err)
	o.config.Batch, o.config.Connects, o.config.Delays = time.Nanosecond, 1, 1
	o.config.Sizes = []int{32}
	measured, err := report.Run(t.Context(), o.config)
	require.NoError(t, err)
	require.Len(t, measured.Connects, 4)

	var said bytes.Buffer
	out := filepath.Join(dir, "a", "b")
	require.NoError(t, save(measured, out, &said))
	require.Contains(t, said.String(), out)
	text, err := os.ReadFile(filepath.Join(out, "report.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "| aesmsg over TLS |")
	for _, part := range strings.Split(string(text), "](")[1:] {
		name, _, _ := strings.Cut(part, ")")
		require.FileExists(t, filepath.Join(out, name), "an image of the report")
		require.FileExists(t, filepath.Join(out, strings.TrimSuffix(name, ".svg")+".png"))
	}
	text, err = os.ReadFile(filepath.Join(out, "report.json"))
	require.NoError(t, err)
	require.True(t, json.Valid(text))
}

// TestConnectingAlone has a report of nothing else.
func TestConnectingAlone(t *testing.T) {
	o, err := parse([]string{"-only", "TLS 1.3 ECDSA,mqttauth two-phase"}, os.Stderr)
	require.NoError(t, err)
	o.config.Connects, o.config.Trips = 1, 1
	measured, err := report.Run(t.Context(), o.config)
	require.NoError(t, err)
	require.Len(t, measured.Connecting, 4)
	require.Empty(t, measured.Connects)
	dir := t.TempDir()
	require.NoError(t, save(measured, dir, &bytes.Buffer{}))
	text, err := os.ReadFile(filepath.Join(dir, "report.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "| v5 | mqttauth two-phase |")
	require.FileExists(t, filepath.Join(dir, "connecting.png"))
	require.NoFileExists(t, filepath.Join(dir, "delay.png"))
}

// rootPEM is the certificate that the broker's own comes from.
func rootPEM(t *testing.T, b *brokers.Embedded) []byte {
	conn, err := tls.Dial("tcp", b.URL(brokers.TLS).Host, &tls.Config{RootCAs: b.RootCAs(), MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	defer conn.Close()
	chain := conn.ConnectionState().VerifiedChains[0]
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
}

func TestRun(t *testing.T) {
	messages, err := os.Create(filepath.Join(t.TempDir(), "messages"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, messages.Close()) })

	t.Run("goals never fail", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out bytes.Buffer
		require.NoError(t, run(ctx, []string{"-goals"}, &out, messages))
		require.Equal(t, "# "+bench.Machine()+"\n", out.String())
	})
	t.Run("a goal is a line", func(t *testing.T) {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"-goals", "-only", "A1"}, &out, messages))
		require.Regexp(t, `^# [^\n]+\nA1 \d+\.\d+ <= \d\.\d+ (ok|short) [^\n]+\n$`, out.String())
	})
	t.Run("a goal is an object", func(t *testing.T) {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"-goals", "-json", "-only", "P7"}, &out, messages))
		for line := range strings.Lines(out.String()) {
			var o bench.Record
			require.NoError(t, json.Unmarshal([]byte(line), &o))
			require.Equal(t, "P7", o.ID)
			require.Contains(t, []string{"ok", "short", "skipped"}, o.Verdict, line)
		}
	})
	t.Run("a report that is interrupted is an error", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out bytes.Buffer
		require.ErrorIs(t, run(ctx, nil, &out, messages), context.Canceled)
		require.Empty(t, out.String())
	})
	t.Run("profile", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "cpu.prof")
		require.NoError(t, run(t.Context(), []string{"-goals", "-only", "P7", "-cpuprofile", name}, &bytes.Buffer{}, messages))
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Positive(t, info.Size())
	})
}

// TestGoalsAreDistinct wants each line of the output to say what it is about.
func TestGoalsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range bench.Goals() {
		name := g.ID + " " + g.What
		require.False(t, seen[name], name)
		seen[name] = true
		require.NotEmpty(t, g.What)
		if g.Of == "" {
			require.Positive(t, g.Limit, name)
		}
		require.True(t, (g.Setup == nil) != (g.Count == nil), "%s: it is measured in one way", name)
	}
}
