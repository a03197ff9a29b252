package authbroker

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// TestPeersRequestsAreBounded: of many requests at once no more are read, and so held in memory, than there are places;
// the others wait, and are answered too. So it is for who follows, without taking away a place of a request.
func TestPeersRequestsAreBounded(t *testing.T) {
	store := MemoryStore()
	authority, err := ca.New()
	require.NoError(t, err)
	inner := store.Handler()
	var entered, reading, most atomic.Int64
	server := quietly(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begins := sync.OnceFunc(func() {
			n := reading.Add(1)
			for before := most.Load(); n > before && !most.CompareAndSwap(before, n); before = most.Load() {
			}
		})
		r.Body = noted{r.Body, begins}
		entered.Add(1)
		inner.ServeHTTP(notedAnswer{w, sync.OnceFunc(func() { reading.Add(-1) })}, r)
	}), authority)
	s := &sharing{store, authority, server}
	await := func(of *atomic.Int64, n int64) {
		t.Helper()
		require.Eventually(t, func() bool { return of.Load() >= n }, sharePatience, time.Millisecond)
	}
	done := make(chan struct{}, 2*maxFollowers)
	post := func(client *http.Client, path string, body io.Reader) (answer string) {
		response, err := client.Post(server.URL+path, "", body)
		if err != nil {
			t.Error(err)
			return ""
		}
		text, err := io.ReadAll(response.Body)
		if err != nil || response.Body.Close() != nil || response.StatusCode != http.StatusOK {
			t.Error(response.Status, err)
		}
		return string(text)
	}
	answered := func(n int) {
		t.Helper()
		for range n {
			select {
			case <-done:
			case <-time.After(sharePatience):
				t.Fatal("no answer")
			}
		}
	}
	const question = `{"b":"claims","k":"YQ=="}`
	client := s.client(t)
	var writers []*io.PipeWriter
	for range 4 * maxRequests {
		r, w := io.Pipe()
		writers = append(writers, w)
		go func() {
			post(client, "/v1/read", r)
			done <- struct{}{}
		}()
		go func() { _, _ = io.WriteString(w, question[:5]) }()
	}
	await(&entered, 4*maxRequests)
	await(&reading, maxRequests)
	var finishing sync.WaitGroup
	for _, w := range writers {
		finishing.Go(func() {
			_, _ = io.WriteString(w, question[5:])
			_ = w.Close()
		})
	}
	answered(4 * maxRequests)
	finishing.Wait()
	require.EqualValues(t, maxRequests, most.Load())

	entered.Store(0)
	most.Store(0)
	const each = 100                                                 // over one connection
	first := `{"boot":"` + store.hub.boot + `","wait":600000000000}` // hubWait
	for range 3 {
		follower := s.client(t)
		for range each {
			go func() {
				for text := " "; text != "" && !strings.Contains(text, `"changes"`); {
					text = post(follower, "/v1/changes", strings.NewReader(first))
				}
				done <- struct{}{}
			}()
		}
	}
	await(&entered, 3*each)
	await(&reading, maxFollowers)
	require.EqualValues(t, maxFollowers, most.Load())
	post(client, "/v1/read", strings.NewReader(question))
	enrolFor(t, store, "alice", "a")
	answered(3 * each)
	require.LessOrEqual(t, most.Load(), int64(maxFollowers+1), "with that one")
}

// noted is a body, which begins when it is read.
type noted struct {
	io.ReadCloser
	begins func()
}

func (n noted) Read(b []byte) (int, error) {
	n.begins()
	return n.ReadCloser.Read(b)
}

// notedAnswer ends when there is an answer, which the request still has its place for.
type notedAnswer struct {
	http.ResponseWriter
	ends func()
}

func (n notedAnswer) Header() http.Header {
	n.ends()
	return n.ResponseWriter.Header()
}
