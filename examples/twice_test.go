package examples_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSecondSignalEndsAtOnce: a gateway that would take an hour to end is told twice.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no process interrupts another there")
	}
	const patience = time.Minute
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer broker.Close()
	go func() { // lets everybody in
		for {
			conn, err := broker.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{0x20, 2, 0, 0})
			go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
		}
	}()
	for _, second := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(second.String(), func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "gateway.yaml")
			text := fmt.Sprintf("upstream: {url: \"mqtt://%s\"}\ndrain: 1h\nlisteners: [{address: \"127.0.0.1:0\"}]\n", broker.Addr())
			require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
			said := new(printed)
			command := exec.Command(built(t, "gateway"), "-config", config)
			command.Stderr = said
			ended := started(t, command)
			listening := regexp.MustCompile(`msg=listening .*address=(\S+)`)
			require.Eventually(t, func() bool { return listening.MatchString(said.String()) }, patience, time.Millisecond)
			address := listening.FindStringSubmatch(said.String())[1]
			var clients []net.Conn
			for n := range 2 {
				conn, err := net.Dial("tcp", address)
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				_, err = conn.Write([]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, byte('a' + n)})
				require.NoError(t, err)
				_, err = io.ReadFull(conn, make([]byte, 4)) // CONNACK
				require.NoError(t, err)
				clients = append(clients, conn)
			}
			require.NoError(t, command.Process.Signal(syscall.SIGTERM))
			require.Eventually(t, func() bool { return regexp.MustCompile(`msg=draining connections=2`).MatchString(said.String()) }, patience, time.Millisecond)
			require.NoError(t, command.Process.Signal(syscall.SIGHUP)) // too late for a reload, and no reason to end
			require.Eventually(t, func() bool {
				_ = command.Process.Signal(second) // it may have ended; one that comes with the first counts as the first
				select {
				case <-ended:
					return true
				default:
					return false
				}
			}, patience, 10*time.Millisecond)
			require.Equal(t, "signal: "+second.String(), command.ProcessState.String())
			for _, conn := range clients {
				_, _ = io.Copy(io.Discard, conn) // until its end, or the deadline
				_, err := conn.Read(make([]byte, 1))
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			}
		})
	}
}
