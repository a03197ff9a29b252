package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// etc is where unit and container have the configuration.
const etc = "/etc/mqttsec/gateway.yaml"

// lines are those of a file that begin with prefix, without it.
func lines(t *testing.T, file, prefix string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			found = append(found, rest)
		}
	}
	return found
}

// deployed writes the configuration that stands for the one at etc.
func deployed(t *testing.T) (file string) {
	s := newSite(t)
	return s.write("gateway.yaml", `
upstream: {url: "mqtt://127.0.0.1:1"}
listeners:
  - {address: "127.0.0.1:0", name: devices, psk: {keys: psk.txt}}
`)
}

// arguments are those of a command line for this program, with the test's configuration.
func arguments(t *testing.T, command []string, file string) []string {
	t.Helper()
	require.Contains(t, command, etc)
	args := append([]string(nil), command[1:]...)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], etc, file)
	}
	return args
}

// TestUnitStartsTheGateway: what the unit runs before is content with a good configuration, and what it runs tells the
// service manager once it listens, and ends without an error.
func TestUnitStartsTheGateway(t *testing.T) {
	const unit = "gateway.service"
	file := deployed(t)
	pre, start := lines(t, unit, "ExecStartPre="), lines(t, unit, "ExecStart=")
	require.Len(t, pre, 1)
	require.Len(t, start, 1)
	require.Equal(t, []string{"notify"}, lines(t, unit, "Type="))
	require.NoError(t, run(t.Context(), arguments(t, strings.Fields(pre[0]), file), new(bytes.Buffer), new(bytes.Buffer)))
	notified(t, arguments(t, strings.Fields(start[0]), file))

	stop, err := time.ParseDuration(lines(t, unit, "TimeoutStopSec=")[0] + "s")
	require.NoError(t, err)
	cfg, err := loadConfig(file)
	require.NoError(t, err)
	require.Greater(t, stop, cfg.Drain.value, "or clients are cut off before the others have been told")
}

// notified runs the gateway as a service manager does, until it is ready.
func notified(t *testing.T, args []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // a path of a socket is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = manager.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := new(lockedBuffer)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, new(bytes.Buffer), log) }()
	require.NoError(t, manager.SetReadDeadline(time.Now().Add(patience)))
	said := make([]byte, 64)
	n, err := manager.Read(said)
	require.NoError(t, err, log.String())
	require.Equal(t, "READY=1", string(said[:n]))
	require.Contains(t, log.String(), "msg=listening")
	cancel()
	require.NoError(t, <-ended)
}

// TestNotifyThatFails: a service manager that cannot be told would wait, and in the end kill the gateway.
func TestNotifyThatFails(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	require.ErrorContains(t, run(t.Context(), []string{"-config", deployed(t)}, new(bytes.Buffer), new(lockedBuffer)), "service manager")
}

// TestUnitIsOne: systemd knows every directive of it.
func TestUnitIsOne(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("systemd is not installed")
	}
	require.NoError(t, err)
	text, err := os.ReadFile("gateway.service")
	require.NoError(t, err)
	here, err := os.Executable() // a program that is there
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "gateway.service")
	require.NoError(t, os.WriteFile(file, bytes.ReplaceAll(text, []byte("/usr/local/bin/mqttsec-gateway"), []byte(here)), 0o600))
	said, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, string(said))
	require.NotContains(t, string(said), filepath.Base(file), "it has something to say")
}

// TestContainerBuilds: the command of the build stage builds the program, statically, and the image starts that.
func TestContainerBuilds(t *testing.T) {
	const container = "Containerfile"
	file := deployed(t)
	var entry []string
	require.NoError(t, json.Unmarshal([]byte(lines(t, container, "ENTRYPOINT ")[0]), &entry))
	program := filepath.Join(t.TempDir(), "gateway")
	built := lines(t, container, "RUN ")
	require.Len(t, built, 1)
	require.Contains(t, built[0], "-o "+entry[0]+" ")
	// Without -trimpath, by which everything would be compiled again that is in the cache.
	command := strings.NewReplacer("-o "+entry[0]+" ", "-o "+program+" ", "-trimpath ", "").Replace(built[0])
	build := exec.Command("sh", "-c", command)
	build.Dir = filepath.Join("..", "..") // COPY . .
	said, err := build.CombinedOutput()
	require.NoError(t, err, string(said))
	require.Contains(t, lines(t, container, "COPY --from=build "), entry[0]+" "+entry[0])

	check := exec.Command(program, append([]string{"-check"}, arguments(t, entry, file)...)...)
	check.Env = []string{} // as in an image made from scratch
	said, err = check.CombinedOutput()
	require.NoError(t, err, string(said))
	require.Contains(t, string(said), "nothing wrong")

	mod, err := os.ReadFile(path.Join("..", "..", "go.mod"))
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)[1]
	require.Contains(t, lines(t, container, "FROM "), fmt.Sprintf("docker.io/library/golang:%s AS build", version))
}
