package mqttauth

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// patience bounds what a test waits for; nothing asserts it.
const patience = time.Minute

// peer is an MQTT client of either library, with the application code that has no idea of MQTT-Auth.
type peer interface {
	publish(topic, payload string) error
	subscribe(filter string) error
	received() <-chan string // "topic payload"
	close()
}

var counter atomic.Int64

func uniqueID() string { return fmt.Sprintf("device-%d", counter.Add(1)) }

// version runs a test on both libraries.
var versions = map[string]func(t testing.TB, c wrapper, u *url.URL, clientID string) (peer, error){
	"v5": connectV5, "v3.1.1": connectV3,
}

func onBoth(t *testing.T, f func(t *testing.T, connect connector)) {
	for name, connect := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, connect)
		})
	}
}

func (h *half) url() *url.URL { return &url.URL{Scheme: "mqtt", Host: h.addr} }

type peerV5 struct {
	manager  *autopaho.ConnectionManager
	cancel   context.CancelFunc
	messages chan string
}

func connectV5(t testing.TB, c wrapper, u *url.URL, clientID string) (peer, error) {
	t.Helper()
	p := &peerV5{messages: make(chan string, 64)}
	failed := make(chan error, 16)
	cfg := autopaho.ClientConfig{
		ServerUrls:     []*url.URL{u},
		KeepAlive:      30,
		ConnectTimeout: patience,
		OnConnectError: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
		ReconnectBackoff: func(attempt int) time.Duration { return time.Duration(attempt) * time.Hour },
		ClientConfig: paho.ClientConfig{
			ClientID: clientID, PacketTimeout: patience,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				p.messages <- r.Packet.Topic + " " + string(r.Packet.Payload)
				return true, nil
			}},
		},
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	t.Cleanup(p.close)
	var err error
	p.manager, err = autopaho.NewConnection(ctx, c.Wrap(cfg))
	require.NoError(t, err)
	up := make(chan error, 1)
	go func() { up <- p.manager.AwaitConnection(ctx) }()
	select {
	case err := <-up:
		return p, err
	case err := <-failed:
		return nil, err
	}
}

func (p *peerV5) publish(topic, payload string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.manager.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
	return err
}

func (p *peerV5) subscribe(filter string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.manager.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	return err
}

func (p *peerV5) received() <-chan string { return p.messages }

func (p *peerV5) close() {
	p.cancel()
	if p.manager != nil {
		<-p.manager.Done()
	}
}

type peerV3 struct {
	client   mqtt.Client
	messages chan string
}

func connectV3(t testing.TB, c wrapper, u *url.URL, clientID string) (peer, error) {
	t.Helper()
	p := &peerV3{messages: make(chan string, 64)}
	opts := mqtt.NewClientOptions().AddBroker(u.String()).SetClientID(clientID).SetConnectTimeout(patience).
		SetAutoReconnect(false).SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		p.messages <- m.Topic() + " " + string(m.Payload())
	})
	p.client = mqtt.NewClient(c.WrapV3(opts))
	t.Cleanup(p.close)
	return p, await(p.client.Connect())
}

func await(tok mqtt.Token) error {
	if !tok.WaitTimeout(patience) {
		return fmt.Errorf("no answer in %v", patience)
	}
	return tok.Error()
}

func (p *peerV3) publish(topic, payload string) error {
	return await(p.client.Publish(topic, 1, false, payload))
}
func (p *peerV3) subscribe(filter string) error { return await(p.client.Subscribe(filter, 1, nil)) }
func (p *peerV3) received() <-chan string       { return p.messages }
func (p *peerV3) close()                        { p.client.Disconnect(0) }

// next is the next message that the application gets.
func next(t testing.TB, p interface{ received() <-chan string }) string {
	t.Helper()
	select {
	case text := <-p.received():
		return text
	case <-time.After(patience):
		t.Fatal("nothing received")
		return ""
	}
}
