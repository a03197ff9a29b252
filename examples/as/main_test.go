package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// asProgram makes the test binary the program itself, with these arguments, one a line.
const asProgram = "AS_TEST_ARGUMENTS"

func TestMain(m *testing.M) {
	if args := os.Getenv(asProgram); args != "" {
		os.Args = append(os.Args[:1], strings.Split(args, "\n")...)
		main()
		return
	}
	os.Exit(m.Run())
}

// TestSignalEndsTheDemo: with 0, although a client is connected.
func TestSignalEndsTheDemo(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), asProgram+"=-demo\n"+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewReader(out)
		for line := ""; !strings.HasPrefix(line, "  curl"); {
			line, err = lines.ReadString('\n')
			require.NoError(t, err)
		}
		f := readFacts(t, dir)
		token := f.token(t, 0, true)
		l := f.dial(t, tls.VersionTLS13)
		l.connect5("lingering", append(binaryData(token.text), l.proof(token.key)...))
		l.connected5()
		if runtime.GOOS == "windows" { // which has no such signals
			require.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait() // it was killed
			continue
		}
		require.NoError(t, cmd.Process.Signal(signal))
		_, err = io.Copy(io.Discard, l.in)
		require.NoError(t, err, "the broker says goodbye")
		_, err = io.Copy(io.Discard, lines)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
	}
}

// start runs the program and returns what it has printed as soon as a line of that begins with until. The program ends
// with the test, without an error.
func start(t *testing.T, until string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	var complaints bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, args, out, &complaints)
		_ = out.CloseWithError(errors.Join(err, io.EOF)) // so that nobody waits for a line
		ended <- err
	}()
	var printed strings.Builder
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		printed.WriteString(line)
		if strings.HasPrefix(strings.TrimSpace(line), until) {
			break
		}
		if err != nil {
			cancel()
			require.NoError(t, <-ended, "%s", complaints.String())
			t.Fatalf("it has not said %q but\n%s", until, printed.String())
		}
	}
	go func() { _, _ = io.Copy(io.Discard, in) }() // until CloseWithError
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return printed.String()
}

// startDemo returns the directory of a demo that runs.
func startDemo(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "directory")
	start(t, "curl", "-demo", dir, "-lifetime", "300s")
	return dir
}

// TestDemoFile: what a reader can rely on.
func TestDemoFile(t *testing.T) {
	dir := startDemo(t)
	f := readFacts(t, dir)
	require.Regexp(t, `^https://localhost:\d+$`, f.AS)
	require.Regexp(t, `^mqtts://localhost:\d+$`, f.Broker)
	require.Equal(t, "ca.pem", f.CA)
	require.Equal(t, 300, f.Lifetime)
	require.GreaterOrEqual(t, len(f.Clients), 2)
	text, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	require.NoError(t, err)
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &members))
	require.Len(t, members, 5)
	for _, c := range f.Clients {
		require.NotContains(t, string(c.Scope), `"#"`)
	}
	require.Contains(t, string(f.Clients[0].Scope), `"pub"`)
	require.Contains(t, string(f.Clients[0].Scope), `+`)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing but demo.json and ca.pem")
}

// sample writes the sample configuration, with files that are right, into a directory.
func sample(t *testing.T, edit func(text string) string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("as.json")
	require.NoError(t, err)
	config := filepath.Join(dir, "as.json")
	changed := strings.ReplaceAll(string(text), `"listen": "localhost:8443"`, `"listen": "localhost:0"`)
	require.NoError(t, os.WriteFile(config, []byte(edit(changed)), 0o600))

	authority, err := ca.New()
	require.NoError(t, err)
	_, err = authority.WriteFile(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "clients.pem"), authority.PEM(), 0o600))
	for name, subject := range map[string]ca.Subject{"server": {}, "broker": {Hosts: []string{"broker.example"}}, "signing": {Ed25519: true}} {
		certificate, err := authority.Issue(subject)
		require.NoError(t, err)
		_, key, err := ca.WriteFiles(dir, name, certificate)
		require.NoError(t, err)
		if name == "signing" {
			require.NoError(t, os.Rename(key, filepath.Join(dir, "signing.pem")))
		}
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broker.key"), []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600))
	return config
}

func same(text string) string { return text }

// TestCheckTakesTheSample: the committed sample is right but for the files that it names.
func TestCheckTakesTheSample(t *testing.T) {
	config := sample(t, same)
	var out, complaints bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-config", config, "-check"}, &out, &complaints))
	require.Contains(t, out.String(), "in order")
	require.NoFileExists(t, filepath.Join(filepath.Dir(config), "as.db"))
	require.ErrorContains(t, run(t.Context(), []string{"-config", "as.json", "-check"}, &out, &complaints), "signing.pem")
}

// TestKeysForABroker prints what a gateway reads: public keys, and the one that it shares with the server.
func TestKeysForABroker(t *testing.T) {
	config := sample(t, same)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-config", config, "-keys", "mqtts://broker.example"}, &out, io.Discard))
	var set struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal(out.Bytes(), &set))
	require.Len(t, set.Keys, 2)
	require.Equal(t, []string{"OKP", "EdDSA", "2026-11", ""}, []string{set.Keys[0]["kty"], set.Keys[0]["alg"], set.Keys[0]["kid"], set.Keys[0]["d"]})
	require.Equal(t, []string{"oct", "A256GCM", "broker-1"}, []string{set.Keys[1]["kty"], set.Keys[1]["alg"], set.Keys[1]["kid"]})
	err := run(t.Context(), []string{"-config", config, "-keys", "elsewhere"}, &out, io.Discard)
	require.ErrorContains(t, err, `no audience "elsewhere"`)
}

// TestCheckSaysWhatIsWrong: one sentence, at the place of the mistake.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string][2]string{
		`unknown field "polices"`:   {`"policies"`, `"polices"`},
		"offset":                    {`"listen": "localhost:0",`, `"listen"; "localhost:0",`},
		`"listen" is missing`:       {`"listen": "localhost:0",`, ``},
		`"state" is missing`:        {`"state": "as.db",`, ``},
		`"certificate" or`:          {`"certificate": "server.pem",`, ``},
		"no such file":              {`"file": "signing.pem"`, `"file": "signing.key"`},
		"no PEM block":              {`"file": "signing.pem"`, `"file": "broker.key"`},
		"not base64":                {`"file": "broker.key"`, `"file": "broker.pem"`},
		"no certificates":           {`"clients.pem"`, `"broker.key"`},
		`unknown audience "elsewhe`: {`"audiences": ["mqtts://broker.example"]`, `"audiences": ["elsewhere"]`},
		`the format "saml"`:         {`"format": "jwt"`, `"format": "saml"`},
		`"10" is not a lifetime`:    {`"10m"`, `"10"`},
		"a secret's hash":           {`sha256:`, `sha512:`},
		"not a valid scope":         {`["pub", "sub"]`, `["publish"]`},
		"in braces":                 {`{client_id}/#`, `{client}/#`},
		"beyond the scope":          {`"default": []`, `"default": [["#", ["sub"]]]`},
		"closing brace":             {"\n}\n", "\n}\n{}\n"},
	} {
		t.Run(want, func(t *testing.T) {
			config := sample(t, func(text string) string {
				require.Contains(t, text, change[0])
				return strings.Replace(text, change[0], change[1], 1)
			})
			err := run(t.Context(), []string{"-config", config, "-check"}, io.Discard, io.Discard)
			if want == "offset" {
				require.ErrorContains(t, err, "invalid character")
				return
			}
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "\n", "one sentence")
		})
	}
}

// curl runs a printed command line, and returns what it has printed.
func curl(t *testing.T, printed string) []byte {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("MQTTSEC_CI") != "" {
			t.Fatal("curl is missing")
		}
		t.Skip("curl is not installed")
	}
	command := regexp.MustCompile(`(?m)^ +(curl .*)$`).FindStringSubmatch(printed)
	require.NotNil(t, command, "%s", printed)
	out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command[1], "curl", "curl -sS --fail", 1)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return out
}

func TestPrintedCurlLineWorks(t *testing.T) {
	t.Run("demo", func(t *testing.T) {
		printed := start(t, "curl", "-demo", t.TempDir())
		var answer map[string]any
		require.NoError(t, json.Unmarshal(curl(t, printed), &answer))
		require.Equal(t, "PoP", answer["token_type"])
		require.EqualValues(t, 600, answer["expires_in"])
	})
	t.Run("config", func(t *testing.T) {
		config := sample(t, same)
		printed := start(t, "curl", "-config", config)
		var answer map[string]any
		require.NoError(t, json.Unmarshal(curl(t, printed), &answer))
		require.Equal(t, "https://localhost:8443/token", answer["token_endpoint"])
	})
}

// TestStateSurvives: a client that registered with an invitation exists after a restart.
func TestStateSurvives(t *testing.T) {
	config := sample(t, same)
	var members map[string]any
	t.Run("first", func(t *testing.T) {
		printed := start(t, "curl", "-config", config, "-invite", "meters")
		invite := regexp.MustCompile(`initial access token: (\S+)`).FindStringSubmatch(printed)[1]
		command := regexp.MustCompile(`curl .*/\.well-known`).FindString(printed)
		base := strings.TrimSuffix(command, "/.well-known")
		line := strings.Replace(base, "https://", "-d '{}' -H 'Content-Type: application/json' -H 'Authorization: Bearer "+invite+"' https://", 1)
		require.NoError(t, json.Unmarshal(curl(t, " "+line+"/register\n"), &members))
		require.NotEmpty(t, members["client_secret"])
	})
	t.Run("second", func(t *testing.T) {
		printed := start(t, "curl", "-config", config)
		base := strings.TrimSuffix(regexp.MustCompile(`curl .*/\.well-known`).FindString(printed), "/.well-known")
		user := members["client_id"].(string) + ":" + members["client_secret"].(string)
		line := strings.Replace(base, "https://", "-d '{}' -H 'Content-Type: application/json' -u "+user+" https://", 1)
		require.Contains(t, string(curl(t, " "+line+"/token\n")), "access_token")
	})
}

// TestBrokerOfEachFormat: -broker with a configuration, on which a stranger's client works as in the demo.
func TestBrokerOfEachFormat(t *testing.T) {
	for _, format := range []string{"jwt", "cwt", "reference"} {
		t.Run(format, func(t *testing.T) {
			secret, hash := aceserver.NewSecret()
			text, err := hash.MarshalText()
			require.NoError(t, err)
			config := sample(t, func(sample string) string {
				sample = strings.Replace(sample, `"format": "jwt"`, `"format": "`+format+`"`, 1)
				return regexp.MustCompile(`sha256:[^"]*`).ReplaceAllString(sample, string(text))
			})
			printed := start(t, "curl", "-config", config, "-broker", "localhost:0")
			at := regexp.MustCompile(`broker: (\S+)`).FindStringSubmatch(printed)
			require.NotNil(t, at, "%s", printed)
			l, token := strangerAt(t, filepath.Dir(config), printed, at[1], "device7", secret, format)
			l.connect5("device7", append(binaryData(token.text), l.proof(token.key)...))
			l.connected5()
			l.send(0x82, []byte{0, 1, 0}, binaryData("site/device7/#"), []byte{1}, binaryData("site/#"), []byte{1})
			body := l.receive(0x90)
			require.Equal(t, []byte{1, 0x87}, body[len(body)-2:])
		})
	}
}

func TestUsage(t *testing.T) {
	var out, complaints bytes.Buffer
	require.ErrorIs(t, run(t.Context(), []string{"-h"}, &out, &complaints), flag.ErrHelp)
	for _, word := range []string{"-config", "-check", "-broker", "-demo", "-lifetime", "-secret", "-invite", "-keys", "usage:"} {
		require.Contains(t, complaints.String(), word)
	}
	for _, args := range [][]string{
		{}, {"x"}, {"-novel"}, {"-config", "a", "-demo", "b"}, {"-check"}, {"-demo", "d", "-check"}, {"-demo", "d", "-broker", ":0"},
		{"-demo", "d", "-lifetime", "1ms"}, {"-demo", "d", "-lifetime", "0"}, {"-config", "a", "-lifetime", "1s"},
		{"-config", "a", "-audience", "b"}, {"-secret", "-invite", "x"}, {"-keys", "a"}, {"-config", "a", "-keys", "b", "-check"},
	} {
		complaints.Reset()
		require.ErrorIs(t, run(t.Context(), args, &out, &complaints), errUsage, "%q", args)
		require.NotEmpty(t, complaints.String())
	}
	require.Empty(t, out.String())
}

func TestSecret(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-secret"}, &out, io.Discard))
	words := strings.Fields(out.String())
	require.Len(t, words, 4)
	var hash aceserver.SecretHash
	require.NoError(t, hash.UnmarshalText([]byte(words[3])))
	require.GreaterOrEqual(t, len(words[1]), 43)
}

// TestTwoServersOnOneState: the second one says so.
func TestTwoServersOnOneState(t *testing.T) {
	config := sample(t, same)
	start(t, "curl", "-config", config)
	require.ErrorContains(t, run(t.Context(), []string{"-config", config}, io.Discard, io.Discard), "another process")
	require.NoError(t, run(t.Context(), []string{"-config", config, "-check"}, io.Discard, io.Discard))
}
