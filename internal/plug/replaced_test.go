package plug

import (
	"context"
	"net"
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue/file"
	"github.com/eclipse/paho.golang/paho/session/state"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// TestStoresSetAfterWrappingAreNoticed when a connection opens, in stacks too; those set before and those in memory are
// right.
func TestStoresSetAfterWrappingAreNoticed(t *testing.T) {
	t.Run("v5", func(t *testing.T) {
		disk, err := file.New(t.TempDir(), "q", "m")
		require.NoError(t, err)
		plain := autopaho.ClientConfig{Queue: disk,
			AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) { return &closeNoter{}, nil }}
		plain.Session = state.NewInMemory()
		for _, wrap := range []func(autopaho.ClientConfig) autopaho.ClientConfig{
			func(c autopaho.ClientConfig) autopaho.ClientConfig { return V5(c, newVault()) },
			func(c autopaho.ClientConfig) autopaho.ClientConfig { return V5(V5(c, newVault()), newVault()) },
			func(c autopaho.ClientConfig) autopaho.ClientConfig { return V5(V5(c, newVault()), newSpy("above")) },
			func(c autopaho.ClientConfig) autopaho.ClientConfig { return V5(V5(c, newSpy("below")), newVault()) },
		} {
			cfg := wrap(plain)
			_, err := connectV5(t.Context(), cfg, nil)
			require.NoError(t, err)
			cfg.Queue = disk
			_, err = connectV5(t.Context(), cfg, nil)
			require.ErrorIs(t, err, errReplaced)
			cfg.Queue = V5(plain, newVault()).Queue // another wrap's
			_, err = connectV5(t.Context(), cfg, nil)
			require.ErrorIs(t, err, errReplaced)
			cfg = wrap(plain)
			cfg.Session = V5(plain, newVault()).Session
			_, err = connectV5(t.Context(), cfg, nil)
			require.ErrorIs(t, err, errReplaced)
			cfg.Session = state.NewInMemory()
			_, err = connectV5(t.Context(), cfg, nil)
			require.ErrorIs(t, err, errReplaced)
			cfg = wrap(autopaho.ClientConfig{AttemptConnection: plain.AttemptConnection})
			_, err = connectV5(t.Context(), cfg, nil)
			require.NoError(t, err)
			cfg.Queue = disk
			_, err = connectV5(t.Context(), cfg, nil)
			require.ErrorIs(t, err, errReplaced)
		}
	})
	t.Run("v3", func(t *testing.T) {
		disk := mqtt.NewFileStore(t.TempDir())
		plain := func() *mqtt.ClientOptions {
			return mqtt.NewClientOptions().SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return &closeNoter{}, nil })
		}
		for _, wrap := range []func(*mqtt.ClientOptions) *mqtt.ClientOptions{
			func(o *mqtt.ClientOptions) *mqtt.ClientOptions { return V3(o, newVault()) },
			func(o *mqtt.ClientOptions) *mqtt.ClientOptions { return V3(V3(o, newVault()), newVault()) },
			func(o *mqtt.ClientOptions) *mqtt.ClientOptions { return V3(V3(o, newVault()), newSpy("above")) },
		} {
			for _, before := range []mqtt.Store{nil, disk, mqtt.NewMemoryStore()} {
				o := wrap(plain().SetStore(before))
				_, err := connectV3(o, nil)
				require.NoError(t, err)
				_, err = connectV3(o.SetStore(mqtt.NewMemoryStore()), nil)
				require.NoError(t, err)
				_, err = connectV3(o.SetStore(disk), nil)
				require.ErrorIs(t, err, errReplaced)
				_, err = connectV3(o.SetStore(V3(plain().SetStore(disk), newVault()).Store), nil)
				require.ErrorIs(t, err, errReplaced, "another wrap's")
			}
		}
		_, err := connectV3(V3(plain(), newSpy("keeps nothing")).SetStore(disk), nil)
		require.NoError(t, err)
	})
}
