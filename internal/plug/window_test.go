package plug

import (
	"context"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/stretchr/testify/require"
)

// held returns a configuration whose function opens a connection, after wait, that
// lives no longer than the context the function was given.
func held(contexts chan<- context.Context, wait time.Duration, err error) autopaho.ClientConfig {
	return autopaho.ClientConfig{AttemptConnection: func(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
		contexts <- ctx
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
			return &closeNoter{}, err
		}
	}}
}

// stack wraps cfg n times.
func stack(cfg autopaho.ClientConfig, n int) autopaho.ClientConfig {
	for range n {
		cfg = V5(cfg, newSpy("a"))
	}
	return cfg
}

func TestConnectTimeoutBoundsTheApplicationsFunction(t *testing.T) {
	for _, layers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			contexts := make(chan context.Context, 1)
			start := time.Now()
			_, err := connectV5(t.Context(), stack(held(contexts, time.Hour, nil), layers), nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, defaultConnectTimeout, time.Since(start))

			cfg := stack(held(contexts, time.Hour, nil), layers)
			cfg.ConnectTimeout = 3 * time.Second
			<-contexts
			start = time.Now()
			_, err = connectV5(t.Context(), cfg, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, cfg.ConnectTimeout, time.Since(start))
			deadline, ok := (<-contexts).Deadline()
			require.False(t, ok, "the attempt is over, and its limit with it: %v", deadline)
		})
	}
}

func TestConnectTimeoutBoundsTheScheme(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &closeNoter{}
		cfg := V5(autopaho.ClientConfig{AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) {
			time.Sleep(4 * time.Second)
			return conn, nil
		}}, stuck{})
		start := time.Now()
		_, err := connectV5(t.Context(), cfg, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, defaultConnectTimeout, time.Since(start), "dialing and the scheme share the time")
		require.Equal(t, 1, conn.closed)
	})
}

// stuck is a scheme that waits for ever.
type stuck struct{}

func (stuck) Conn(ctx context.Context, _ net.Conn) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestConnectionOutlivesConnectTimeout(t *testing.T) {
	for _, layers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			contexts := make(chan context.Context, 2)
			cfg := stack(held(contexts, time.Second, nil), layers)
			manager, stop := context.WithCancel(t.Context())

			_, err := connectV5(manager, cfg, nil)
			require.NoError(t, err)
			first := <-contexts
			time.Sleep(time.Hour)
			synctest.Wait()
			require.NoError(t, first.Err())
			_, limited := first.Deadline()
			require.False(t, limited)

			_, err = connectV5(manager, cfg, nil)
			require.NoError(t, err)
			second := <-contexts
			require.ErrorIs(t, first.Err(), context.Canceled, "contexts of former connections pile up")
			require.NoError(t, second.Err())

			other, stopOther := context.WithCancel(t.Context())
			defer stopOther()
			_, err = connectV5(other, cfg, nil)
			require.NoError(t, err)
			require.NoError(t, second.Err(), "another manager with the same configuration ended it")

			stop()
			synctest.Wait()
			require.ErrorIs(t, second.Err(), context.Canceled)
		})
	}
}

func TestWindowsForgetManagersThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attemptV5{scheme: newSpy("a"), below: held(make(chan context.Context, 9), 0, nil).AttemptConnection}
		manager, stop := context.WithCancel(t.Context())
		for range 3 {
			_, err := a.connect(manager, autopaho.ClientConfig{}, nil)
			require.NoError(t, err)
		}
		require.Len(t, a.windows.kept, 1)
		stop()
		synctest.Wait()
		require.Empty(t, a.windows.kept)

		_, err := a.connect(context.Background(), autopaho.ClientConfig{}, nil)
		require.NoError(t, err)
		require.Empty(t, a.windows.kept)
	})
}

func TestFailedAttemptEndsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contexts := make(chan context.Context, 1)
		_, err := connectV5(t.Context(), stack(held(contexts, time.Second, errTest), 1), nil)
		require.ErrorIs(t, err, errTest)
		require.ErrorIs(t, (<-contexts).Err(), context.Canceled)
	})
}

func TestWindowKeepsAnEarlierDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	want, _ := ctx.Deadline()
	var ws windows
	w := ws.open(ctx, want.Add(time.Hour))
	got, ok := w.Deadline()
	require.True(t, ok)
	require.Equal(t, want, got)
	ws.settle(w, false)
}
