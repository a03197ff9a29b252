package brokers_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/stretchr/testify/require"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

func start(t *testing.T) map[string]brokers.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started := make(map[string]brokers.Broker)
	embedded, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	started[embedded.Name()] = embedded
	mosquitto, err := brokers.StartMosquitto(ctx, brokers.Config{})
	switch {
	case err == nil:
		started[mosquitto.Name()] = mosquitto
	case !errors.Is(err, brokers.ErrNoMosquitto) || os.Getenv("MQTTSEC_CI") == "1":
		require.NoError(t, err)
	}
	for _, b := range started {
		t.Cleanup(func() { require.NoError(t, b.Close()) })
	}
	return started
}

func connect(t *testing.T, b brokers.Broker, u *url.URL) mqtt.Client {
	t.Helper()
	opts := mqtt.NewClientOptions().AddBroker(u.String()).SetTLSConfig(&tls.Config{RootCAs: b.RootCAs()})
	client := mqtt.NewClient(opts.SetConnectTimeout(patience).SetAutoReconnect(false))
	complete(t, client.Connect())
	t.Cleanup(func() { client.Disconnect(0) })
	return client
}

func complete(t *testing.T, token mqtt.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())
}

func TestEveryTransportAcrossRestarts(t *testing.T) {
	transports := []string{brokers.TCP, brokers.TLS, brokers.WS, brokers.WSS, brokers.Unix}
	for name, b := range start(t) {
		t.Run(name, func(t *testing.T) {
			require.Nil(t, b.URL("pigeon"))
			for round := range 3 {
				for _, transport := range transports {
					client, got := connect(t, b, b.URL(transport)), make(chan string, 10)
					if round > 0 { // retained, across the restart
						complete(t, client.Subscribe("kept/"+transport, 1, func(_ mqtt.Client, m mqtt.Message) {
							got <- string(m.Payload())
						}))
						require.Equal(t, strconv.Itoa(round-1), receive(t, got))
					}
					complete(t, client.Publish("kept/"+transport, 1, true, strconv.Itoa(round)))
				}
				require.NoError(t, b.Stop())
				opts := mqtt.NewClientOptions().AddBroker(b.URL(brokers.TCP).String())
				token := mqtt.NewClient(opts).Connect()
				require.True(t, token.WaitTimeout(patience))
				require.Error(t, token.Error(), "stopped")
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				require.NoError(t, b.Start(ctx))
				cancel()
			}
		})
	}
}

func receive(t *testing.T, got <-chan string) string {
	t.Helper()
	select {
	case s := <-got:
		return s
	case <-time.After(patience):
		t.Fatal("nothing received")
		return ""
	}
}

func TestBridge(t *testing.T) {
	mosquitto := startMosquitto(t, brokers.Config{})
	for _, transport := range []string{brokers.WS, brokers.WSS} {
		bridge, err := brokers.NewBridge(mosquitto, transport)
		require.NoError(t, err)
		client := connect(t, mosquitto, bridge.URL())
		complete(t, client.Publish("large", 1, false, make([]byte, 8<<20)))
		require.NoError(t, bridge.Close())
	}
}

func TestInFlight(t *testing.T) {
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.Zero(t, b.InFlight("nobody"))
	opts := mqtt.NewClientOptions().AddBroker(b.URL(brokers.TCP).String()).SetClientID("keeper").SetCleanSession(false)
	client := mqtt.NewClient(opts)
	complete(t, client.Connect())
	complete(t, client.Subscribe("kept", 1, nil))
	client.Disconnect(1000)
	other := connect(t, b, b.URL(brokers.TCP))
	complete(t, other.Publish("kept", 1, false, "x"))
	require.Eventually(t, func() bool { return b.InFlight("keeper") == 1 }, patience, time.Millisecond)
}

// doorbell counts the connections that it lets through.
type doorbell struct {
	net.Listener
	rang chan struct{}
}

func (d doorbell) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err == nil {
		d.rang <- struct{}{}
	}
	return conn, err
}

func TestServe(t *testing.T) {
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	bell := doorbell{listener, make(chan struct{}, 1)}
	require.NoError(t, b.Serve(bell))
	client := connect(t, b, &url.URL{Scheme: brokers.TCP, Host: listener.Addr().String()})
	<-bell.rang
	complete(t, client.Publish("a", 1, false, "x"))

	require.NoError(t, b.Stop())
	require.ErrorIs(t, listener.Close(), net.ErrClosed, "Stop has closed it")
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, b.Serve(other), "stopped")
	require.ErrorIs(t, other.Close(), net.ErrClosed, "nobody else would")
	require.NoError(t, b.Close())
}

// TestServeClosedListener lets the owner of a listener close it first.
func TestServeClosedListener(t *testing.T) {
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, b.Serve(listener))
	require.NoError(t, listener.Close())
	require.NoError(t, b.Close())
}

func startMosquitto(t *testing.T, cfg brokers.Config) *brokers.Mosquitto {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := brokers.StartMosquitto(ctx, cfg)
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestMosquittoConfigured(t *testing.T) {
	authority, err := ca.New()
	require.NoError(t, err)
	b := startMosquitto(t, brokers.Config{Authority: authority, Mosquitto: brokers.MosquittoConfig{
		Lines: []string{"allow_anonymous false", "log_type all", "acl_file {dir}/acl", "psk_file {dir}/psk"},
		Listeners: map[string]brokers.MosquittoListener{
			"mutual": {Scheme: "mqtts", Lines: []string{
				"cafile {dir}/ca.pem", "certfile {dir}/broker.pem", "keyfile {dir}/broker-key.pem",
				"require_certificate true", "use_identity_as_username true",
			}},
			"psk": {Scheme: "mqtts", Lines: []string{"psk_hint mqttsec"}},
		},
		Files: map[string]string{"acl": "user ann\ntopic readwrite a/#\n", "psk": "ann:00112233445566778899aabbccddeeff\n"},
	}})
	require.NotEqual(t, b.URL("mutual").Port(), b.URL("psk").Port())
	require.Equal(t, "mqtts", b.URL("psk").Scheme)
	require.FileExists(t, b.Dir()+"/ca.pem")

	token := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(b.URL(brokers.TCP).String()).SetClientID("anonymous")).Connect()
	require.True(t, token.WaitTimeout(patience))
	require.ErrorContains(t, token.Error(), "not Authorized", "without a name, since a line of ours comes last")

	certificate, err := authority.Issue(ca.Subject{Client: true, Name: "ann"})
	require.NoError(t, err)
	config := authority.ClientConfig()
	config.Certificates = []tls.Certificate{certificate}
	opts := mqtt.NewClientOptions().AddBroker(b.URL("mutual").String()).SetTLSConfig(config).SetClientID("by-certificate")
	client := mqtt.NewClient(opts)
	complete(t, client.Connect())
	complete(t, client.Publish("a", 1, false, "x"))
	client.Disconnect(0)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	line, err := b.AwaitLog(ctx, "Sending PUBACK to by-certificate")
	require.NoError(t, err)
	require.Contains(t, b.Log(), line)
	cancel()
	_, err = b.AwaitLog(ctx, "what it never says")
	require.ErrorIs(t, err, context.Canceled)
}

func TestMosquittoSaysWhyItDoesNotStart(t *testing.T) {
	_, err := brokers.StartMosquitto(t.Context(), brokers.Config{Mosquitto: brokers.MosquittoConfig{
		Lines: []string{"no_such_option 1"},
	}})
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.ErrorContains(t, err, "no_such_option")
}
