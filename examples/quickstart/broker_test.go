package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// certificate writes what the broker presents to a file, as a user would keep
// the certificate of a broker that has signed its own.
func certificate(t *testing.T, broker brokers.Broker) string {
	t.Helper()
	conn, err := tls.Dial("tcp", broker.URL(brokers.TLS).Host, &tls.Config{RootCAs: broker.RootCAs()})
	require.NoError(t, err)
	leaf := conn.ConnectionState().PeerCertificates[0]
	require.NoError(t, conn.Close())
	file := filepath.Join(t.TempDir(), "broker.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestUsersOwnBroker(t *testing.T) {
	broker, err := brokers.StartMosquitto(t.Context(), brokers.Config{})
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	cafile := certificate(t, broker)

	for _, transport := range []string{brokers.TCP, brokers.TLS, brokers.WS, brokers.WSS} {
		t.Run(transport, func(t *testing.T) {
			out, err := quickstart(t, "-broker", broker.URL(transport).String(), "-cafile", cafile)
			require.NoError(t, err, out)
			require.NotContains(t, out, "  broker        ", "nobody can look into it")
			require.Equal(t, 2, strings.Count(out, "refused: ErrReplay"))
		})
	}
	t.Run("unknown certificate", func(t *testing.T) {
		_, err := quickstart(t, "-broker", broker.URL(brokers.TLS).String())
		require.ErrorAs(t, err, new(x509.UnknownAuthorityError))
	})
}

// doorman notes who connects.
type doorman struct {
	mochi.HookBase
	mu   sync.Mutex
	seen map[string]int
}

func (*doorman) ID() string { return "doorman" }

func (*doorman) Provides(event byte) bool { return event == mochi.OnConnect }

func (d *doorman) OnConnect(_ *mochi.Client, p packets.Packet) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[string(p.Connect.Username)+":"+string(p.Connect.Password)]++
	return nil
}

func TestCredentials(t *testing.T) {
	for name, set := range map[string]func(*testing.T) []string{
		"option": func(*testing.T) []string { return []string{"-password", "secret"} },
		"environment": func(t *testing.T) []string {
			t.Setenv(passwordVariable, "secret")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			broker, err := brokers.StartEmbedded(brokers.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, broker.Close()) })
			at := &doorman{seen: map[string]int{}}
			require.NoError(t, broker.Server.AddHook(at, nil))

			url := broker.URL(brokers.TCP).String()
			out, err := quickstart(t, append(set(t), "-broker", url, "-user", "ann")...)
			require.NoError(t, err, out)
			at.mu.Lock()
			defer at.mu.Unlock()
			require.Len(t, at.seen, 1, "every client says the same")
			require.NotZero(t, at.seen["ann:secret"])
		})
	}
}
