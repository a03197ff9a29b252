package examples_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// Every command of the documentation is run. A page's blocks of shell commands run in their order, each in a shell of
// its own that ends with the first command that fails, in one directory that stands for the root of a clone; what is
// last in a block and serves until it is interrupted, as in servers, runs beside the blocks that follow. What differs
// from what a reader does:
//
//   - ports are others, see portNumber; where a page starts no broker, 1883 is that of one that this test has started;
//   - "go run" runs a program that is built already, and "go test" tests one small package;
//   - what takes minutes is told to take less, and what gives up after half of one to take its time, see told;
//   - whoever is asked for a password answers "correct horse battery staple";
//   - "systemctl reload" does what the unit file of the gateway says.

// portNumber matches those that stand for free ones.
var portNumber = regexp.MustCompile(`\b(1883|1884|1885|1886|7777|8443|8444|8883|8884|8885|9464|9465)\b`)

// servers are commands that go on until they are interrupted, and what they print when they can be used.
var servers = []struct{ command, ready *regexp.Regexp }{
	{regexp.MustCompile(`^\S*mosquitto -c `), regexp.MustCompile(`mosquitto version \S+ running`)},
	{regexp.MustCompile(`/(gateway|as) -demo `), regexp.MustCompile(`Until you interrupt it`)},
	{regexp.MustCompile(`gateway -config `), regexp.MustCompile(`msg=(admin|listening)`)},
	{regexp.MustCompile(`[-/]as -config `), regexp.MustCompile(`serving https`)},
	{regexp.MustCompile(`authority serve `), regexp.MustCompile(`msg=(listening|serving)`)},
	{regexp.MustCompile(`/psk -serve `), regexp.MustCompile(`listening on`)},
	{regexp.MustCompile(`/request .*-answer `), regexp.MustCompile(`answering on`)},
	{regexp.MustCompile(`/pake serve `), regexp.MustCompile(`listening on`)},
}

// passing are commands like those of servers that end by themselves.
var passing = regexp.MustCompile(` -(check|keys|secret)\b`)

// told are commands that take minutes, or that would give up on a machine with more to do, and what is added. A soak in
// which not every attack was made once shows nothing, and says so.
var told = []struct{ command, with string }{
	{"./examples/bench -goals", " -only A1"},
	{"./examples/bench", " -rounds 1 -only plain"},
	{"./examples/soak", " -for 20s"},
	{"./examples/quickstart", " -timeout 3m -lifetime 10s"},
}

// block is a fenced block of a page.
type block struct {
	line int
	text string
}

var fenced = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

func blocks(page []byte) (found []block) {
	for _, at := range fenced.FindAllSubmatchIndex(page, -1) {
		found = append(found, block{1 + bytes.Count(page[:at[0]], []byte("\n")), string(page[at[2]:at[3]])})
	}
	return found
}

// TestCommands runs the commands of all pages.
func TestCommands(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the pages are written for a POSIX shell")
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	pages := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return firstOf(err, fs.SkipDir)
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if len(blocks(text)) == 0 {
			return nil
		}
		name, err := filepath.Rel(root, path)
		pages++
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			t.Parallel()
			newReader(t, root, string(text)).read(blocks(text))
		})
		return err
	}))
	require.NotZero(t, pages)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// reader does what a page says.
type reader struct {
	t           *testing.T
	dir, shims  string
	environment []string
	ports       map[string]string // the one that is used, by the one that the page names
	held        ports.Set
}

// external are the programs that pages call and that need not be there.
var external = regexp.MustCompile(`(?m)^(?:.*\| *)?(mosquitto|mosquitto_ctrl|mosquitto_passwd|mosquitto_pub|openssl|curl)\b`)

func newReader(t *testing.T, root, page string) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), shims: t.TempDir(), ports: map[string]string{}}
	t.Cleanup(func() { require.NoError(t, r.held.Close()) }) // after the end of the programs
	path := r.shims + string(os.PathListSeparator) + os.Getenv("PATH") + string(os.PathListSeparator) + "/usr/sbin"
	commands := ""
	for _, b := range blocks([]byte(page)) {
		commands += b.text
	}
	for _, match := range external.FindAllStringSubmatch(commands, -1) {
		if !installed(match[1], path) {
			require.NotEqual(t, "1", os.Getenv("MQTTSEC_CI"), "%s is not installed", match[1])
			t.Skip(match[1] + " is not installed")
		}
	}
	for _, match := range regexp.MustCompile(`\./examples/(\w+)`).FindAllStringSubmatch(commands, -1) {
		if _, err := os.Stat(match[1] + "/main.go"); err == nil {
			built(t, match[1])
		}
	}
	for _, name := range []string{"examples", "internal"} {
		require.NoError(t, os.Symlink(filepath.Join(root, name), filepath.Join(r.dir, name)))
	}
	realGo, err := exec.LookPath("go")
	require.NoError(t, err)
	r.environment = append(os.Environ(), "PATH="+path, "ROOT="+root, "PROGRAMS="+programs.dir, "SHIMS="+r.shims, "GO="+realGo)
	r.shim("go", goShim)
	r.shim("systemctl", systemctlShim)
	require.NoError(t, os.WriteFile(filepath.Join(r.shims, "password"), []byte("correct horse battery staple\n"), 0o600))
	if !strings.Contains(commands, "listener 1883") {
		broker, err := brokers.StartEmbedded(brokers.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, broker.Close()) })
		r.ports["1883"] = broker.URL(brokers.TCP).Port()
	}
	return r
}

func installed(program, path string) bool {
	for _, dir := range filepath.SplitList(path) {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// goShim is the command go of a page. Programs that ask for a password get it.
const goShim = `#!/bin/sh
case "$1 $2" in
"run ./examples/soak") cd "$ROOT"; shift 2; PATH=${PATH#*:}; exec "$PROGRAMS/soak" "$@" ;;
"run ./examples/authority") shift 2; exec "$PROGRAMS/authority" "$@" <"$SHIMS/password" ;;
"run ./examples/"*) name=${2##*/}; shift 2; exec "$PROGRAMS/$name" "$@" ;;
"build -o") cp "$PROGRAMS/${4##*/}" "$3" ;;
"test "*) cd "$ROOT"; exec "$GO" test ./internal/topic ;;
"doc "*) cd "$ROOT"; exec "$GO" "$@" ;;
*) echo "go $*: not expected in a page" >&2; exit 1 ;;
esac
`

// systemctlShim reloads the gateway that the page has started.
const systemctlShim = `#!/bin/sh
[ "$*" = "reload mqttsec-gateway" ] || { echo "systemctl $*: not expected in a page" >&2; exit 1; }
MAINPID=$(cat "$SHIMS/gateway.pid")
eval "$(sed -n 's/^ExecReload=//p' "$ROOT/examples/gateway/gateway.service")"
`

func (r *reader) shim(name, text string) {
	require.NoError(r.t, os.WriteFile(filepath.Join(r.shims, name), []byte(text), 0o700))
}

// read runs the blocks.
func (r *reader) read(found []block) {
	for _, b := range found {
		commands := r.adapt(b.text)
		if before, last := cut(commands); serves(last) != nil {
			r.serve(b.line, before, last)
		} else {
			r.run(b.line, commands)
		}
	}
}

// adapt puts free ports in the place of those that are named, and adds to what is told.
func (r *reader) adapt(text string) string {
	text = portNumber.ReplaceAllStringFunc(text, func(port string) string {
		if r.ports[port] == "" {
			host, err := r.held.Take()
			require.NoError(r.t, err)
			_, r.ports[port], err = net.SplitHostPort(host)
			require.NoError(r.t, err)
		}
		return r.ports[port]
	})
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		for _, s := range told {
			if command, comment, ok := strings.Cut(line, " #"); strings.Contains(command, s.command) {
				lines[i] = strings.TrimRight(command, " ") + s.with
				if ok {
					lines[i] += " #" + comment
				}
				break
			}
		}
	}
	return strings.Join(lines, "\n")
}

// cut separates the last command of a block, which may stand on several lines.
func cut(commands string) (before, last string) {
	lines := strings.Split(strings.TrimSpace(commands), "\n")
	at := len(lines) - 1
	for at > 0 && strings.HasSuffix(lines[at-1], `\`) {
		at--
	}
	last, _, _ = strings.Cut(strings.Join(lines[at:], "\n"), " #")
	return strings.Join(lines[:at], "\n"), last
}

// serves is what a server prints when it is ready, nil for another command.
func serves(command string) *regexp.Regexp {
	if passing.MatchString(command) {
		return nil
	}
	for _, s := range servers {
		if s.command.MatchString(command) {
			return s.ready
		}
	}
	return nil
}

// shell is a shell with commands in a process group of its own, so that nothing of it is left behind.
func (r *reader) shell(commands string, out *output) *exec.Cmd {
	cmd := exec.Command("sh", "-eu", "-c", commands)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.environment, out, out
	cmd.SysProcAttr = group()
	cmd.WaitDelay = soon
	return cmd
}

// longest is what a block takes on a machine that has much else to do.
const longest = 3 * time.Minute

func (r *reader) run(line int, commands string) {
	r.t.Helper()
	out, began := newOutput(), time.Now()
	cmd := r.shell(commands, out)
	require.NoError(r.t, cmd.Start())
	timer := time.AfterFunc(longest, func() { end(cmd, syscall.SIGKILL) })
	err := cmd.Wait()
	timer.Stop()
	require.NoError(r.t, err, "line %d:\n%s\n%s", line, commands, out)
	r.t.Logf("line %d: %v", line, time.Since(began).Round(time.Millisecond))
}

// serve starts a server, after what comes before it in its block, and returns when it is ready. It is interrupted when
// the page has been read.
func (r *reader) serve(line int, before, command string) {
	r.t.Helper()
	out := newOutput()
	cmd := r.shell(before+"\nexec "+command, out)
	require.NoError(r.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r.t.Cleanup(func() {
		end(cmd, syscall.SIGINT)
		select {
		case <-ended: // TestInterruptEnds looks how
		case <-time.After(soon):
			end(cmd, syscall.SIGKILL)
			<-ended
			r.t.Errorf("line %d: %s goes on:\n%s", line, command, out)
		}
	})
	if strings.Contains(command, "gateway -config") {
		require.NoError(r.t, os.WriteFile(filepath.Join(r.shims, "gateway.pid"), fmt.Append(nil, cmd.Process.Pid), 0o600))
	}
	limit, ready := time.After(longest), serves(command)
	for !ready.MatchString(out.String()) {
		select {
		case <-out.more:
		case err := <-ended:
			ended <- err
			require.FailNow(r.t, "a server has ended", "line %d: %s: %v\n%s", line, command, err, out)
		case <-limit:
			require.FailNow(r.t, "a server is not ready", "line %d: %s\n%s", line, command, out)
		}
	}
}

// output collects what is printed; more has something when there is more.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
