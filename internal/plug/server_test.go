package plug

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// server is a small MQTT server that tells the test what it is sent.
type server struct {
	present bool            // there is a session from before
	refuse  byte            // the reason to refuse CONNECT, if not 0
	acks    func(byte) bool // whether a PUBLISH of QoS 1 or a PUBREL (QoS 2) is acknowledged
	deaf    bool            // not even PUBREC

	presentNow atomic.Bool         // like present, from now on
	greeting   *wire.PublishPacket // sent after CONNACK
	reply      *wire.PublishPacket // sent after a PUBLISH of QoS 0

	connects  chan wire.ConnectPacket
	published chan wire.PublishPacket
	released  chan uint16
	upgrades  chan http.Header
}

func always(byte) bool { return true }
func never(byte) bool  { return false }

func newServer(acks func(byte) bool) *server {
	return &server{
		acks:      acks,
		connects:  make(chan wire.ConnectPacket, 64),
		published: make(chan wire.PublishPacket, 64),
		released:  make(chan uint16, 64),
		upgrades:  make(chan http.Header, 64),
	}
}

// listen serves l until the test ends.
func (s *server) listen(t *testing.T, l net.Listener) net.Addr {
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr()
}

// tcp serves a TCP port and returns its address.
func (s *server) tcp(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return s.listen(t, l).String()
}

// tls serves a TLS port and returns its address.
func (s *server) tls(t *testing.T, config *tls.Config) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	return s.listen(t, l).String()
}

// web serves websockets, over TLS unless config is nil, and returns the address.
func (s *server) web(t *testing.T, config *tls.Config) string {
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		s.upgrades <- r.Header
		s.serve(&wsConn{Conn: ws})
	}))
	h.TLS = config
	if config != nil {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	return h.Listener.Addr().String()
}

// serve speaks MQTT on conn until it ends.
func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	var version wire.Version
	for {
		p, err := wire.Read(conn, wire.MaxPacket)
		if err != nil {
			return
		}
		if p.Type() == wire.Connect {
			c, err := wire.ParseConnect(p)
			if err != nil {
				return
			}
			version = c.Version
			s.connects <- c
		}
		answer := s.answer(p, version)
		if answer == nil {
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (s *server) answer(p wire.Packet, v wire.Version) (b []byte) {
	ack := func(t wire.Type, id uint16) []byte {
		b, _ := (&wire.AckPacket{Type: t, ID: id}).Append(nil, v)
		return b
	}
	switch p.Type() {
	case wire.Connect:
		b, _ = (&wire.ConnackPacket{SessionPresent: s.present || s.presentNow.Load(), Code: s.refuse}).Append(nil, v)
		if s.greeting != nil {
			b, _ = s.greeting.Append(b, v)
		}
	case wire.Publish:
		m, err := wire.ParsePublish(p, v)
		if err != nil {
			panic(err)
		}
		acked := m.QoS == 1 && s.acks(1) // before the test hears of m, and may change it
		s.published <- m
		switch {
		case acked:
			return ack(wire.Puback, m.ID)
		case m.QoS == 0 && s.reply != nil:
			b, _ = s.reply.Append(nil, v)
		case m.QoS == 2 && !s.deaf:
			return ack(wire.Pubrec, m.ID)
		}
	case wire.Pubrel:
		m, err := wire.ParseAck(p, v)
		if err != nil {
			panic(err)
		}
		acked := s.acks(2)
		s.released <- m.ID
		if acked {
			return ack(wire.Pubcomp, m.ID)
		}
	case wire.Pingreq:
		return []byte{byte(wire.Pingresp) << 4, 0}
	}
	return b
}

// identity returns a server's TLS configuration and a client's, for these names.
func identity(t *testing.T, names ...string) (serving, trusting *tls.Config) {
	authority, err := ca.New()
	require.NoError(t, err)
	serving, err = authority.ServerConfig(append([]string{"127.0.0.1"}, names...)...)
	require.NoError(t, err)
	return serving, authority.ClientConfig()
}

func parse(t *testing.T, s string) *url.URL {
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// await receives from c, or fails the test.
func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		require.FailNow(t, "nothing came")
	}
	return v
}
