package tlspsk_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

var versions = []tlspsk.Version{tlspsk.TLS13, tlspsk.TLS12}

// requireDelivery sends at each QoS from one library to the other, and back.
func requireDelivery(t *testing.T, server *url.URL, a, b connector, s scheme) {
	t.Helper()
	topic := unique("topic")
	from, to := open(t, a, server, s), open(t, b, server, s)
	require.NoError(t, to.subscribe(patient(t), topic+"/#"))
	for _, qos := range []byte{0, 1, 2} {
		for _, payload := range []string{"", "x", strings.Repeat("long ", 20_000)} {
			require.NoError(t, from.publish(patient(t), topic+"/a", qos, payload))
			expect(t, to, topic+"/a "+payload)
		}
	}
}

// requireMatrix runs both directions between the libraries, bare and with payloads sealed on top of the key.
func requireMatrix(t *testing.T, server *url.URL, psk scheme) {
	key, err := aesmsg.GenerateKey("#")
	require.NoError(t, err)
	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	require.NoError(t, err)
	for i, from := range connectors {
		to := connectors[len(connectors)-1-i]
		t.Run(from.name+" to "+to.name, func(t *testing.T) { requireDelivery(t, server, from, to, psk) })
		t.Run(from.name+" to "+to.name+", sealed", func(t *testing.T) {
			requireDelivery(t, server, from, to, stack{sealer, psk})
		})
	}
}

func TestMosquitto(t *testing.T) {
	b := startMosquitto(t)
	for _, version := range versions {
		t.Run(version.String(), func(t *testing.T) {
			requireMatrix(t, b.URL("psk"), newScheme(t, config(version)))
		})
	}
	t.Run("neither version pinned", func(t *testing.T) { // what a client with nothing but a name and a key comes to
		requireDelivery(t, b.URL("psk"), connectors[0], connectors[1], newScheme(t, config(0)))
	})
}

func TestOurListener(t *testing.T) {
	b := startKeyed(t)
	for _, version := range versions {
		for _, server := range []*url.URL{b.mqtts, b.wss} {
			t.Run(version.String()+" "+server.Scheme, func(t *testing.T) {
				requireMatrix(t, server, newScheme(t, config(version)))
				seen := b.states()
				require.Len(t, seen, 8)
				for _, state := range seen {
					require.Equal(t, device, state.Identity)
					require.Equal(t, version, state.Version)
					require.Equal(t, map[string]string{"mqtts": "mqtt", "wss": "http/1.1"}[server.Scheme], state.NegotiatedProtocol)
				}
			})
		}
	}
}

// TestServerNameIsSent looks at SNI: the host of the URL, or what the Config says.
func TestServerNameIsSent(t *testing.T) {
	b := startKeyed(t)
	local := *b.mqtts
	_, port, err := net.SplitHostPort(local.Host)
	require.NoError(t, err)
	local.Host = net.JoinHostPort("localhost", port)
	named := config(0)
	named.ServerName = "broker.example.org"
	for _, with := range connectors {
		open(t, with, &local, newScheme(t, config(0)))
		require.Equal(t, "localhost", b.states()[0].ServerName)
		open(t, with, &local, newScheme(t, named))
		require.Equal(t, "broker.example.org", b.states()[0].ServerName)
		open(t, with, b.mqtts, newScheme(t, config(0)))
		require.Empty(t, b.states()[0].ServerName, "an address is no name")
	}
}

// TestRefusals connects with a wrong key and an unknown identity to both brokers.
func TestRefusals(t *testing.T) {
	mosquitto, ours := startMosquitto(t), startKeyed(t)
	const illegalParameter, badRecordMAC, decryptError, missingExtension, unknownIdentity = 47, 20, 51, 109, 115
	wrongKey := func(v tlspsk.Version) tlspsk.Config {
		cfg := config(v)
		cfg.Key = append([]byte{1}, key...)
		return cfg
	}
	unknown := func(v tlspsk.Version) tlspsk.Config {
		cfg := config(v)
		cfg.Identity = "device-8"
		return cfg
	}
	for _, tt := range []struct {
		name   string
		server *url.URL
		cfg    tlspsk.Config
		want   tlspsk.AlertError
	}{
		{"mosquitto, TLS 1.3, wrong key", mosquitto.URL("psk"), wrongKey(tlspsk.TLS13), illegalParameter},
		{"mosquitto, TLS 1.2, wrong key", mosquitto.URL("psk"), wrongKey(tlspsk.TLS12), badRecordMAC},
		{"mosquitto, TLS 1.3, unknown", mosquitto.URL("psk"), unknown(tlspsk.TLS13), missingExtension},
		{"mosquitto, TLS 1.2, unknown", mosquitto.URL("psk"), unknown(tlspsk.TLS12), unknownIdentity},
		{"ours, TLS 1.3, wrong key", ours.mqtts, wrongKey(tlspsk.TLS13), decryptError},
		{"ours, TLS 1.2, wrong key", ours.mqtts12, wrongKey(tlspsk.TLS12), badRecordMAC},
		{"ours, TLS 1.3, unknown", ours.mqtts, unknown(tlspsk.TLS13), decryptError},
		{"ours, TLS 1.2, unknown", ours.mqtts12, unknown(tlspsk.TLS12), badRecordMAC},
	} {
		for _, with := range connectors {
			t.Run(tt.name+" "+with.name, func(t *testing.T) {
				_, err := with.connect(patient(t), tt.server, newScheme(t, tt.cfg))
				require.Error(t, err)
				var alert tlspsk.AlertError
				require.True(t, errors.As(err, &alert), "%v", err)
				require.Equal(t, tt.want, alert)
				require.NotContains(t, err.Error(), keyHex)
			})
		}
	}
}

// TestNothingWithoutTheKey: a client that is not wrapped does not get in, under any scheme of its URL, and a wrapped
// one does not fall back to a listener without TLS.
func TestNothingWithoutTheKey(t *testing.T) {
	mosquitto, ours := startMosquitto(t), startKeyed(t)
	psk := newScheme(t, config(0))
	plain := *ours.mqtts
	plain.Scheme = "mqtt"
	for _, with := range connectors {
		_, err := with.connect(patient(t), mosquitto.URL("tcp"), psk)
		require.Error(t, err, "TLS to a listener without it")
		_, err = with.connect(patient(t), ours.mqtts, stack{})
		require.Error(t, err, "certificates, which the server has not")
	}
	web := *ours.wss
	web.Scheme = "ws"
	for _, with := range connectors {
		_, err := with.connect(patient(t), ours.mqtts, stack{psk, psk})
		require.ErrorContains(t, err, "has TLS already")
		_, err = with.connect(patient(t), &web, psk)
		require.ErrorContains(t, err, "use wss")
	}
	_, err := connectV5(patient(t), &plain, stack{})
	require.Error(t, err, "no TLS")
	require.Empty(t, ours.states())
}

// TestComesBack restarts mosquitto under connected clients of each version.
func TestComesBack(t *testing.T) {
	b := startMosquitto(t)
	psk := newScheme(t, config(0))
	topic := unique("topic")
	var ends []client
	for _, with := range connectors {
		c := open(t, with, b.URL("psk"), psk)
		require.NoError(t, c.subscribe(patient(t), topic))
		ends = append(ends, c)
	}
	require.NoError(t, ends[0].publish(patient(t), topic, 1, "before"))
	for _, c := range ends {
		expect(t, c, topic+" before")
	}
	require.NoError(t, b.Stop())
	require.NoError(t, b.Start(patient(t)))
	require.NoError(t, ends[0].publish(patient(t), topic, 1, "after"))
	for _, c := range ends {
		for got := ""; got != topic+" after"; { // the first may come again, if its PUBACK did not arrive
			select {
			case got = <-c.received():
			case <-time.After(patience):
				require.Fail(t, "nothing received")
			}
		}
	}
}

// TestMosquittoClients lets mosquitto_pub and mosquitto_sub meet our clients at our listener.
func TestMosquittoClients(t *testing.T) {
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
		}
	}
	b := startKeyed(t)
	psk := newScheme(t, config(0))
	for i, version := range versions {
		server := []*url.URL{b.mqtts, b.mqtts12}[i]
		for j, with := range connectors {
			t.Run(version.String()+" "+with.name, func(t *testing.T) {
				topic := unique("topic")
				args := []string{"-h", server.Hostname(), "-p", server.Port(), "--psk-identity", device, "--psk", keyHex, "-V", []string{"5", "311"}[j], "-t", topic}
				c := open(t, with, b.mqtts, psk)
				require.NoError(t, c.subscribe(patient(t), topic))
				b.states()
				out, err := exec.CommandContext(patient(t), "mosquitto_pub", append(args, "-q", "2", "-m", "from mosquitto_pub")...).CombinedOutput()
				require.NoError(t, err, string(out))
				expect(t, c, topic+" from mosquitto_pub")
				require.Equal(t, version, b.states()[0].Version)

				sub := exec.CommandContext(patient(t), "mosquitto_sub", append(args, "-q", "1", "-C", "1")...)
				stdout, err := sub.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, sub.Start())
				got := make(chan string, 1)
				go func() {
					buf := make([]byte, 100)
					n, _ := stdout.Read(buf)
					got <- string(buf[:n])
				}()
				for { // until it has subscribed
					require.NoError(t, c.publish(patient(t), topic, 1, "to mosquitto_sub"))
					expect(t, c, topic+" to mosquitto_sub")
					select {
					case text := <-got:
						require.Equal(t, "to mosquitto_sub\n", text)
						require.NoError(t, sub.Wait())
						return
					default:
					}
				}
			})
		}
	}
}
