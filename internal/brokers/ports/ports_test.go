package ports

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTake takes ports on behalf of many, one of whom listens and one of whom is to.
func TestTake(t *testing.T) {
	var sets [2]Set
	seen := make(map[string]bool)
	for i := range 200 {
		host, err := sets[i%2].Take()
		require.NoError(t, err)
		require.False(t, seen[host], "%s was given to two", host)
		seen[host] = true
		listener, err := net.Listen("tcp", host)
		require.NoError(t, err)
		require.NoError(t, listener.Close())
	}
	for host := range seen {
		_, err := net.ListenPacket("udp", host) // which is how another process would hold it
		require.Error(t, err)
	}
	require.NoError(t, sets[0].Close())
	require.NoError(t, sets[1].Close())
	given := 0
	for host := range seen {
		if lock, err := net.ListenPacket("udp", host); err == nil { // some may be another's by now
			given++
			require.NoError(t, lock.Close())
		}
	}
	require.Positive(t, given)
}

// TestTakenPortIsFree while other goroutines start programs, which have for a moment whatever this one has open.
func TestTakenPortIsFree(t *testing.T) {
	nothing := filepath.Join(t.TempDir(), "nothing")
	done := make(chan struct{})
	var starting sync.WaitGroup
	for range 2 {
		starting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_, _ = os.StartProcess(nothing, nil, &os.ProcAttr{}) // there is no such program
				}
			}
		})
	}
	var set Set
	for range 300 {
		host, err := set.Take()
		require.NoError(t, err)
		listener, err := net.Listen("tcp", host)
		require.NoError(t, err)
		require.Error(t, refused(host))
		require.NoError(t, listener.Close())
	}
	close(done)
	starting.Wait()
	require.NoError(t, set.Close())
}

func TestSpan(t *testing.T) {
	for text, want := range map[string][2]int{
		"32768\t60999\n": {20268, 32768},
		"16000\t65535\n": {5000, 16000},
		"1024\t60999\n":  {61000, 65536},
		"1024\t65535\n":  {20000, 32000},
		"":               {20000, 32000},
		"many":           {20000, 32000},
	} {
		first, last := span([]byte(text), nil)
		require.Equal(t, want, [2]int{first, last}, "%q", text)
	}
	first, last := span(nil, errors.New("no such file"))
	require.Equal(t, [2]int{20000, 32000}, [2]int{first, last})
}
