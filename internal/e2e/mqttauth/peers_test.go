package mqttauth

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth"
)

// patience bounds what a test waits for; nothing asserts it.
const patience = time.Minute

var counter atomic.Int64

func uniqueID() string { return fmt.Sprintf("device-%d", counter.Add(1)) }

// settings are what an application sets in the options of its client.
type settings struct {
	clientID    string // one of its own if empty
	willTopic   string
	willPayload string
	persistent  bool // a session that outlives the connection
	reconnect   bool
	tls         *tls.Config
}

// peer is a client of either library, with application code that knows nothing of MQTT-Auth.
type peer interface {
	publish(topic string, qos byte, payload string) error
	subscribe(filter string) error
	received() <-chan string // "topic payload"
	lost() <-chan struct{}   // one for each connection that ended
	ups() int                // connections so far
	close()                  // in the orderly way
}

// A library connects a client.
type library func(t testing.TB, c *mqttauth.Client, u *url.URL, s settings, above ...layerAbove) (peer, error)

// layerAbove is a scheme on top of MQTT-Auth, for either library.
type layerAbove interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

var libraries = map[string]library{"v5": connectV5, "v3.1.1": connectV3}

// onBoth runs a test with both libraries.
func onBoth(t *testing.T, f func(t *testing.T, connect library)) {
	for name, connect := range libraries {
		t.Run(name, func(t *testing.T) { f(t, connect) })
	}
}

type peerV5 struct {
	manager  *autopaho.ConnectionManager
	cancel   context.CancelFunc
	messages chan string
	down     chan struct{}
	count    atomic.Int64
}

func connectV5(t testing.TB, c *mqttauth.Client, u *url.URL, s settings, above ...layerAbove) (peer, error) {
	t.Helper()
	if s.clientID == "" {
		s.clientID = uniqueID()
	}
	p := &peerV5{messages: make(chan string, 256), down: make(chan struct{}, 64)}
	failed := make(chan error, 64)
	up := make(chan struct{}, 64)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, TlsCfg: s.tls, KeepAlive: 30, ConnectTimeout: patience,
		OnConnectionUp:   func(*autopaho.ConnectionManager, *paho.Connack) { p.count.Add(1); note(up) },
		OnConnectionDown: func() bool { note(p.down); return s.reconnect },
		OnConnectError: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
		ReconnectBackoff: func(attempt int) time.Duration {
			if s.reconnect {
				return time.Duration(attempt) * 20 * time.Millisecond
			}
			return time.Duration(attempt) * time.Hour
		},
		ClientConfig: paho.ClientConfig{
			ClientID: s.clientID, PacketTimeout: patience,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				p.messages <- r.Packet.Topic + " " + string(r.Packet.Payload)
				return true, nil
			}},
		},
	}
	if s.willTopic != "" {
		cfg.WillMessage = &paho.WillMessage{Topic: s.willTopic, Payload: []byte(s.willPayload), QoS: 1}
	}
	if s.persistent {
		cfg.SessionExpiryInterval = 3600
	} else {
		cfg.CleanStartOnInitialConnection = true
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	t.Cleanup(p.close)
	if c != nil {
		cfg = c.Wrap(cfg)
	}
	for _, l := range above {
		cfg = l.Wrap(cfg)
	}
	var err error
	p.manager, err = autopaho.NewConnection(ctx, cfg)
	require.NoError(t, err)
	select {
	case <-up:
		return p, nil
	case err := <-failed:
		return nil, err
	case <-time.After(patience):
		return nil, fmt.Errorf("no connection in %v", patience)
	}
}

func note(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *peerV5) send(m *paho.Publish) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.manager.Publish(ctx, m)
	return err
}

func (p *peerV5) publish(topic string, qos byte, payload string) error {
	return p.send(&paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos})
}

func (p *peerV5) subscribe(filter string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.manager.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	return err
}

func (p *peerV5) received() <-chan string { return p.messages }
func (p *peerV5) lost() <-chan struct{}   { return p.down }
func (p *peerV5) ups() int                { return int(p.count.Load()) }

func (p *peerV5) close() {
	if p.manager != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.manager.Disconnect(ctx)
	}
	p.cancel()
	if p.manager != nil {
		<-p.manager.Done()
	}
}

type peerV3 struct {
	client   mqtt.Client
	messages chan string
	down     chan struct{}
	count    atomic.Int64
}

func connectV3(t testing.TB, c *mqttauth.Client, u *url.URL, s settings, above ...layerAbove) (peer, error) {
	t.Helper()
	if s.clientID == "" {
		s.clientID = uniqueID()
	}
	p := &peerV3{messages: make(chan string, 256), down: make(chan struct{}, 64)}
	opts := mqtt.NewClientOptions().AddBroker(u.String()).SetClientID(s.clientID).SetConnectTimeout(patience).
		SetAutoReconnect(s.reconnect).SetMaxReconnectInterval(100 * time.Millisecond).SetCleanSession(!s.persistent).
		SetOnConnectHandler(func(mqtt.Client) { p.count.Add(1) }).
		SetConnectionLostHandler(func(mqtt.Client, error) { note(p.down) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			p.messages <- m.Topic() + " " + string(m.Payload())
		})
	if s.tls != nil {
		opts.SetTLSConfig(s.tls)
	}
	if s.willTopic != "" {
		opts.SetWill(s.willTopic, s.willPayload, 1, false)
	}
	if c != nil {
		opts = c.WrapV3(opts)
	}
	for _, l := range above {
		opts = l.WrapV3(opts)
	}
	p.client = mqtt.NewClient(opts)
	t.Cleanup(p.close)
	if err := await(p.client.Connect()); err != nil {
		return nil, err
	}
	return p, nil
}

func await(token mqtt.Token) error {
	if !token.WaitTimeout(patience) {
		return fmt.Errorf("no answer in %v", patience)
	}
	return token.Error()
}

func (p *peerV3) publish(topic string, qos byte, payload string) error {
	return await(p.client.Publish(topic, qos, false, payload))
}

func (p *peerV3) subscribe(filter string) error {
	token := p.client.Subscribe(filter, 1, nil)
	if err := await(token); err != nil {
		return err
	}
	if code := token.(*mqtt.SubscribeToken).Result()[filter]; code >= 0x80 {
		return fmt.Errorf("subscription refused: 0x%02X", code)
	}
	return nil
}

func (p *peerV3) received() <-chan string { return p.messages }
func (p *peerV3) lost() <-chan struct{}   { return p.down }
func (p *peerV3) ups() int                { return int(p.count.Load()) }
func (p *peerV3) close()                  { p.client.Disconnect(50) }

// receives fails unless the peer receives this message next.
func receives(t testing.TB, p peer, want string) {
	t.Helper()
	select {
	case got := <-p.received():
		require.Equal(t, want, got)
	case <-time.After(patience):
		require.FailNow(t, "nothing received", "instead of %q", want)
	}
}

// inTime calls f with longer and longer lives of a token or ticket, until this machine is quick enough for what f wants
// to do within one.
func inTime(t testing.TB, f func(life time.Duration) bool) {
	t.Helper()
	for life := 2 * time.Second; !f(life); life *= 2 {
		require.Less(t, life, patience)
	}
}

// loses fails unless the peer's connection ends.
func loses(t testing.TB, p peer) {
	t.Helper()
	select {
	case <-p.lost():
	case <-time.After(patience):
		require.FailNow(t, "the connection has not ended")
	}
}
