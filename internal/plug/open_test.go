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

// stuck is a scheme that waits for ever.
type stuck struct{}

func (stuck) Conn(ctx context.Context, _ net.Conn) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestApplicationsFunctionGetsTheClientsContext: what the client would have given it, no deadline of ours, whatever the
// number of layers.
func TestApplicationsFunctionGetsTheClientsContext(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "the client's")
	var got context.Context
	cfg := autopaho.ClientConfig{AttemptConnection: func(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
		got = ctx
		return &closeNoter{}, nil
	}}
	for range 3 {
		_, err := connectV5(ctx, cfg, nil)
		require.NoError(t, err)
		require.True(t, got == ctx)
		cfg = V5(cfg, newSpy("a"))
	}
}

// TestConnectTimeoutBoundsTheScheme lets a function of the application take its time; then the scheme has
// ConnectTimeout for itself.
func TestConnectTimeoutBoundsTheScheme(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = time.Hour
		conn := &closeNoter{}
		cfg := V5(autopaho.ClientConfig{AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) {
			time.Sleep(slow)
			return conn, nil
		}}, stuck{})
		start := time.Now()
		_, err := connectV5(t.Context(), cfg, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, slow+defaultConnectTimeout, time.Since(start))
		require.Equal(t, 1, conn.closed)

		cfg.ConnectTimeout = 3 * time.Second
		start = time.Now()
		_, err = connectV5(t.Context(), cfg, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, slow+cfg.ConnectTimeout, time.Since(start))
	})
}
