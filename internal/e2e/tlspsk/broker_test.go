package tlspsk_test

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

const device = "device-7"

var key = []byte{0x9b, 0x4c, 0x1d, 0xee, 0x02, 0x7f, 0xa5, 0x31, 0xc8, 0x66, 0x90, 0x15, 0xf2, 0x3a, 0x88, 0xd7, 0x44, 0x01}

var keyHex = hex.EncodeToString(key)

// config is the device's.
func config(version tlspsk.Version) tlspsk.Config {
	return tlspsk.Config{Identity: device, Key: key, MinVersion: version, MaxVersion: version}
}

func newScheme(t testing.TB, cfg tlspsk.Config) *tlspsk.Scheme {
	t.Helper()
	s, err := tlspsk.New(cfg)
	require.NoError(t, err)
	return s
}

// startMosquitto starts one that knows the device. Which version it speaks is up to the client.
func startMosquitto(t *testing.T) *brokers.Mosquitto {
	t.Helper()
	listener := brokers.MosquittoListener{Scheme: "mqtts", Lines: []string{"psk_hint mqttsec", "use_identity_as_username true"}}
	b, err := brokers.StartMosquitto(patient(t), brokers.Config{Mosquitto: brokers.MosquittoConfig{
		Lines:     []string{"psk_file {dir}/psk", "allow_anonymous false", "acl_file {dir}/acl"},
		Files:     map[string]string{"psk": device + ":" + keyHex + "\n", "acl": "user " + device + "\ntopic readwrite #\n"},
		Listeners: map[string]brokers.MosquittoListener{"psk": listener},
	}})
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// keyed is the embedded broker behind our listener, and behind a web server behind another.
type keyed struct {
	*brokers.Embedded
	mqtts, wss *url.URL
	mqtts12    *url.URL // TLS 1.2 only

	mu    sync.Mutex
	seen  []tlspsk.ConnectionState
	conns sync.WaitGroup
}

func startKeyed(t *testing.T) *keyed {
	t.Helper()
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	k := &keyed{Embedded: b}
	require.NoError(t, b.Server.AddHook(&census{k: k}, nil))
	listen := func(cfg tlspsk.Config) net.Listener {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		cfg.Keys = func(identity string) []byte {
			if identity != device {
				return nil
			}
			return key
		}
		l, err := tlspsk.NewListener(inner, &cfg)
		require.NoError(t, err)
		return l
	}
	l := listen(tlspsk.Config{})
	require.NoError(t, b.Serve(l))
	k.mqtts = &url.URL{Scheme: "mqtts", Host: l.Addr().String()}

	old := listen(tlspsk.Config{MaxVersion: tlspsk.TLS12})
	require.NoError(t, b.Serve(old))
	k.mqtts12 = &url.URL{Scheme: "mqtts", Host: old.Addr().String()}

	web := listen(tlspsk.Config{NextProtos: []string{"http/1.1"}})
	k.wss = &url.URL{Scheme: "wss", Host: web.Addr().String(), Path: "/mqtt"}
	server := &http.Server{Handler: http.HandlerFunc(k.upgrade), ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(web) }()
	t.Cleanup(func() {
		_ = server.Close()
		require.NoError(t, b.Close())
		k.conns.Wait()
	})
	return k
}

func (k *keyed) upgrade(w http.ResponseWriter, r *http.Request) {
	k.conns.Add(1)
	defer k.conns.Done()
	ws, err := (&websocket.Upgrader{Subprotocols: []string{"mqtt"}}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	_ = k.Server.EstablishConnection("ws", &stream{Conn: ws})
}

// stream is the octets in the messages of a websocket.
type stream struct {
	*websocket.Conn
	message io.Reader
}

func (s *stream) Read(b []byte) (int, error) {
	for {
		if s.message == nil {
			_, r, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			s.message = r
		}
		n, err := s.message.Read(b)
		if err != io.EOF {
			return n, err
		}
		if s.message = nil; n > 0 {
			return n, nil
		}
	}
}

func (s *stream) Write(b []byte) (int, error) {
	return len(b), s.WriteMessage(websocket.BinaryMessage, b)
}

// SetDeadline bounds reading alone: the broker calls it while it writes, which a websocket does not bear.
func (s *stream) SetDeadline(at time.Time) error { return s.SetReadDeadline(at) }

// census keeps what the broker can know of who connects.
type census struct {
	mochi.HookBase
	k *keyed
}

func (*census) ID() string { return "census" }

func (*census) Provides(event byte) bool { return event == mochi.OnConnect }

func (c *census) OnConnect(client *mochi.Client, _ packets.Packet) error {
	conn := client.Net.Conn
	if s, ok := conn.(*stream); ok {
		conn = s.NetConn()
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	c.k.seen = append(c.k.seen, conn.(*tlspsk.Conn).ConnectionState())
	return nil
}

func (k *keyed) states() []tlspsk.ConnectionState {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := k.seen
	k.seen = nil
	return seen
}
