package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// patience bounds what only a failure makes last.
const patience = 2 * time.Minute

// program is built once for each test.
func program(t *testing.T, dir, of string) string {
	t.Helper()
	said, err := exec.Command("go", "build", "-o", dir+string(os.PathSeparator), of).CombinedOutput()
	require.NoError(t, err, string(said))
	return dir
}

// terminal is what a person reads.
type terminal struct {
	text  chan []byte
	whole bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.text <- bytes.Clone(p)
	return len(p), nil
}

// await reads until there is a text.
func (t *terminal) await(text string) string {
	limit := time.After(patience)
	for !strings.Contains(t.whole.String(), text) {
		select {
		case more := <-t.text:
			t.whole.Write(more)
		case <-limit:
			return t.whole.String()
		}
	}
	return t.whole.String()
}

// TestTry does what the program tells people to do: sends a message through each gateway, kills a node and a gateway,
// and sends another through what is left. An interrupt ends all of it.
func TestTry(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a process cannot be interrupted by another")
	}
	dir := t.TempDir()
	program(t, dir, ".")
	program(t, dir, "../../token")
	for name, missing := range map[string]bool{
		"nats":     lacks("nats-server"),
		"ejabberd": lacks("ejabberdctl") && lacks("/usr/sbin/ejabberdctl"),
	} {
		t.Run(name, func(t *testing.T) {
			if missing && os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(brokers.ErrNotInstalled)
			}
			screen := &terminal{text: make(chan []byte, 1000)}
			command := exec.Command(dir+"/cluster", "-broker", name)
			command.Stdout, command.Stderr = screen, screen
			require.NoError(t, command.Start())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = command.Wait() // ProcessState says how
			}()
			t.Cleanup(func() {
				_ = command.Process.Signal(os.Interrupt) // it may have ended
				select {
				case <-ended:
				case <-time.After(patience):
					_ = command.Process.Kill()
					t.Error("an interrupt does not end it")
				}
			})
			said := screen.await("Until you interrupt it.")
			require.Contains(t, said, "Until you interrupt it.")
			tries := regexp.MustCompile(`go run ./examples/token (.*)`).FindAllStringSubmatch(said, -1)
			require.Len(t, tries, 2)
			kills := regexp.MustCompile(`kill -9 \d+`).FindAllString(said, -1)
			require.Len(t, kills, 5)
			try := func(gateway int) { // until it succeeds: nodes need some seconds to agree
				t.Helper()
				for limit := time.Now().Add(patience); ; {
					said, err := exec.Command(dir+"/token", strings.Fields(tries[gateway][1])...).CombinedOutput()
					if err == nil {
						require.Equal(t, "open\n", string(said))
						return
					}
					require.True(t, time.Now().Before(limit), "%s", said)
				}
			}
			try(0)
			try(1)
			for _, kill := range []string{kills[0], kills[4]} { // the first gateway's node, and the second gateway
				require.NoError(t, exec.Command("sh", "-c", kill).Run())
			}
			try(0)
			require.NoError(t, command.Process.Signal(os.Interrupt))
			select {
			case <-ended:
			case <-time.After(patience):
				require.Fail(t, "it goes on")
			}
			require.Zero(t, command.ProcessState.ExitCode())
			for _, address := range regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(said, -1) {
				_, err := net.Dial("tcp", address)
				require.Error(t, err, "%s is still there", address)
			}
			file := strings.Fields(tries[0][1])
			require.NoFileExists(t, file[len(file)-3])
		})
	}
}

func lacks(program string) bool {
	_, err := exec.LookPath(program)
	return err != nil
}

func TestExitCodes(t *testing.T) {
	dir := program(t, t.TempDir(), ".")
	said, err := exec.Command(dir+"/cluster", "-h").CombinedOutput()
	require.NoError(t, err, string(said))
	for _, args := range [][]string{{}, {"-broker", "none"}, {"-broker", "nats", "argument"}, {"-no-such-flag"}} {
		command := exec.Command(dir+"/cluster", args...)
		require.Error(t, command.Run())
		require.Equal(t, 2, command.ProcessState.ExitCode(), "%v", args)
	}
}
