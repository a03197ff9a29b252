package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	filequeue "github.com/eclipse/paho.golang/autopaho/queue/file"
	pahopackets "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/extensions/topicaliases"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session/state"
	filestore "github.com/eclipse/paho.golang/paho/store/file"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/steady"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

// sessionExpiry is how many seconds a broker keeps a session that is meant to persist.
const sessionExpiry = 3600

// anyPassword goes with the user of a broker that takes every password.
const anyPassword = "x"

// inboundAliases is what an application does about the topic aliases that a broker uses.
type inboundAliases struct {
	handler *topicaliases.TAHandler
}

// resolve returns the topic of a message that may have come with an alias in its place.
func (a inboundAliases) resolve(p *paho.Publish) string {
	if a.handler == nil || p.Properties == nil || p.Properties.TopicAlias == nil {
		return p.Topic
	}
	if p.Topic == "" {
		return a.handler.GetTopic(*p.Properties.TopicAlias)
	}
	a.handler.ResetAlias(p.Topic, *p.Properties.TopicAlias)
	return p.Topic
}

// configV5 is the part of the configuration that both ways of using paho.golang have in common.
func configV5(o options, in *inbox) paho.ClientConfig {
	var aliases inboundAliases
	cfg := paho.ClientConfig{ClientID: o.id, PacketTimeout: patience}
	if o.still {
		cfg.PingHandler = noPings{}
	}
	if o.aliases > 0 {
		aliases.handler = topicaliases.NewTAHandler(o.aliases)
		cfg.PublishHook = topicaliases.NewTAHandler(o.aliases).PublishHook
	}
	cfg.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
		m := message{
			topic:      aliases.resolve(p.Packet),
			payload:    p.Packet.Payload,
			qos:        p.Packet.QoS,
			retain:     p.Packet.Retain,
			properties: p.Packet.Properties,
		}
		if o.received != nil {
			o.received(m)
		}
		in.put(m)
		return true, nil
	}}
	return cfg
}

// noPings is a paho.Pinger that sends none. A Keep Alive of 0 would not do: mosquitto answers it with one of its own.
type noPings struct{}

func (noPings) Run(context.Context, net.Conn, uint16) error { return nil }
func (noPings) PacketSent()                                 {}
func (noPings) PacketReceived()                             {}
func (noPings) PingResp()                                   {}
func (noPings) SetDebug(log.Logger)                         {}

// connectV5 completes CONNECT with what neither library has an option for.
func connectV5(o options) func(*paho.Connect, *url.URL) (*paho.Connect, error) {
	return func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
		if c.Properties == nil {
			c.Properties = &paho.ConnectProperties{RequestProblemInfo: true}
		}
		if o.user != "" {
			c.UsernameFlag, c.Username = true, o.user
			c.PasswordFlag, c.Password = true, []byte(anyPassword)
		}
		if o.persistent {
			c.Properties.SessionExpiryInterval = paho.Uint32(sessionExpiry)
		}
		if o.aliases > 0 {
			c.Properties.TopicAliasMaximum = paho.Uint16(o.aliases)
		}
		return c, nil
	}
}

func willV5(o options) *paho.WillMessage {
	if o.will == nil {
		return nil
	}
	return &paho.WillMessage{Topic: o.will.topic, Payload: o.will.payload, QoS: o.will.qos, Retain: o.will.retain}
}

func publishV5(m message) *paho.Publish {
	return &paho.Publish{Topic: m.topic, Payload: m.payload, QoS: m.qos, Retain: m.retain, Properties: m.properties}
}

// published turns the broker's answer into an error: the library itself makes none of a PUBREC that refuses.
func published(r *paho.PublishResponse, err error) error {
	if err == nil && r != nil && r.ReasonCode >= 0x80 {
		return refusedError(r.ReasonCode)
	}
	return err
}

// refusedError is the reason code of an acknowledgement that is none.
type refusedError byte

func (e refusedError) Error() string { return fmt.Sprintf("refused with reason 0x%02X", byte(e)) }

func subscribeV5(filter string, qos byte) *paho.Subscribe {
	return &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos, RetainAsPublished: true}}}
}

func tlsConfig(o options) *tls.Config {
	return &tls.Config{RootCAs: o.roots, MinVersion: tls.VersionTLS12}
}

// autopahoClient is autopaho: it dials and reconnects by itself, and has a queue.
type autopahoClient struct {
	manager *autopaho.ConnectionManager
	in      *inbox
}

func connectAutopaho(ctx context.Context, s scheme, o options) (client, error) {
	in := newInbox()
	cfg := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{o.url},
		TlsCfg:                        tlsConfig(o),
		KeepAlive:                     60,
		CleanStartOnInitialConnection: !o.persistent,
		ReconnectBackoff:              func(int) time.Duration { return 5 * time.Millisecond },
		ConnectTimeout:                patience,
		WillMessage:                   willV5(o),
		ConnectPacketBuilder:          connectV5(o),
		ClientConfig:                  configV5(o, in),
	}
	if o.dir != "" {
		if err := onDisk(&cfg, o.dir); err != nil {
			return nil, err
		}
	}
	failed := make(chan error, 1)
	cfg.OnConnectError = func(err error) {
		select {
		case failed <- err:
		default: // only the first attempt matters
		}
	}
	up := make(chan struct{}, 1)
	cfg.OnConnectionUp = func(*autopaho.ConnectionManager, *paho.Connack) {
		select {
		case up <- struct{}{}:
		default:
		}
	}
	// The connection is to outlive ctx, which bounds its making.
	cfg = s.Wrap(cfg)
	if cfg.Session == nil { // after wrapping, so that the scheme meets what applications give it
		cfg.Session = steady.Session(state.NewInMemory())
	}
	manager, err := autopaho.NewConnection(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	c := &autopahoClient{manager: manager, in: in}
	if o.offline {
		return c, nil
	}
	select {
	case <-up:
		return c, nil
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, manager.Disconnect(ctx))
}

// onDisk keeps the queue and the session in files.
func onDisk(cfg *autopaho.ClientConfig, dir string) error {
	queue, err := filequeue.New(filepath.Join(dir, "queue"), "queue", ".msg")
	if err != nil {
		return err
	}
	sent, err := filestore.New(filepath.Join(dir, "sent"), "sent", ".msg")
	if err != nil {
		return err
	}
	received, err := filestore.New(filepath.Join(dir, "received"), "received", ".msg")
	if err != nil {
		return err
	}
	cfg.Queue = queue
	cfg.Session = steady.Session(state.New(sent, received))
	return nil
}

// publish waits for the connection of the moment, as that of pahoClient does: when a message that was sent again has
// been acknowledged, autopaho may not yet know that it is connected.
func (c *autopahoClient) publish(ctx context.Context, m message) error {
	if err := c.manager.AwaitConnection(ctx); err != nil {
		return err
	}
	return published(c.manager.Publish(ctx, publishV5(m)))
}

func (c *autopahoClient) enqueue(ctx context.Context, m message) error {
	return c.manager.PublishViaQueue(ctx, &autopaho.QueuePublish{Publish: publishV5(m)})
}

func (c *autopahoClient) subscribe(ctx context.Context, filter string, qos byte) error {
	if err := c.manager.AwaitConnection(ctx); err != nil {
		return err
	}
	_, err := c.manager.Subscribe(ctx, subscribeV5(filter, qos))
	return err
}

func (c *autopahoClient) inbox() *inbox { return c.in }

func (c *autopahoClient) disconnect(ctx context.Context) error { return c.manager.Disconnect(ctx) }

// pahoClient is paho.Client on a connection that the application has made, and makes again when it is lost.
type pahoClient struct {
	scheme  scheme
	options options
	config  paho.ClientConfig
	in      *inbox
	running sync.WaitGroup
	stop    context.CancelFunc

	mu      sync.Mutex
	current *paho.Client // nil while disconnected
	up      chan struct{}
}

func connectPaho(ctx context.Context, s scheme, o options) (client, error) {
	if o.offline || o.dir != "" {
		return nil, errCannotEnqueue
	}
	in := newInbox()
	life, stop := context.WithCancel(context.Background())
	c := &pahoClient{scheme: s, options: o, config: configV5(o, in), in: in, stop: stop, up: make(chan struct{})}
	c.config.Session = steady.Session(state.NewInMemory()) // shared by all connections, which are paho.Clients of their own
	ready := make(chan error, 1)
	c.running.Go(func() { c.run(life, ready) })
	select {
	case err := <-ready:
		if err != nil {
			stop()
			return nil, err
		}
		return c, nil
	case <-ctx.Done():
		stop()
		return nil, ctx.Err()
	}
}

// run connects again and again until life ends. The first attempt tells ready how it went.
func (c *pahoClient) run(life context.Context, ready chan<- error) {
	for first := true; life.Err() == nil; first = false {
		cli, err := c.connect(life, first)
		if first {
			ready <- err
		}
		if err != nil {
			select { // an attempt refused at once is not repeated at once
			case <-time.After(5 * time.Millisecond):
			case <-life.Done():
			}
			continue
		}
		c.mu.Lock()
		c.current = cli
		close(c.up)
		c.mu.Unlock()
		select {
		case <-cli.Done():
		case <-life.Done():
			_ = cli.Disconnect(&paho.Disconnect{})
		}
		c.mu.Lock()
		c.current, c.up = nil, make(chan struct{})
		c.mu.Unlock()
	}
}

// connect makes one connection, wraps it, and runs CONNECT over it.
func (c *pahoClient) connect(ctx context.Context, first bool) (*paho.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := dial(ctx, c.options)
	if err != nil {
		return nil, err
	}
	wrapped, err := c.scheme.Conn(ctx, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	cfg := c.config
	cfg.Conn = wrapped
	cli := paho.NewClient(cfg)
	connect, err := connectV5(c.options)(&paho.Connect{
		ClientID:    c.options.id,
		KeepAlive:   60,
		CleanStart:  first && !c.options.persistent,
		WillMessage: willV5(c.options),
	}, c.options.url)
	if err != nil {
		return nil, err
	}
	if connect.WillMessage != nil {
		connect.WillProperties = &paho.WillProperties{}
	}
	if _, err := cli.Connect(ctx, connect); err != nil {
		return nil, err
	}
	return cli, nil
}

// dial opens the transport that the URL asks for. The result serialises writes, as paho.Client wants it to.
func dial(ctx context.Context, o options) (net.Conn, error) {
	var dialer net.Dialer
	switch o.url.Scheme {
	case brokers.TLS:
		conn, err := (&tls.Dialer{NetDialer: &dialer, Config: tlsConfig(o)}).DialContext(ctx, "tcp", o.url.Host)
		if err != nil {
			return nil, err
		}
		return pahopackets.NewThreadSafeConn(conn), nil
	case brokers.WS, brokers.WSS:
		conn, err := mqtt.NewWebsocket(o.url.String(), tlsConfig(o), patience, http.Header{}, nil)
		if err != nil {
			return nil, err
		}
		return pahopackets.NewThreadSafeConn(conn), nil
	default:
		conn, err := dialer.DialContext(ctx, "tcp", o.url.Host)
		if err != nil {
			return nil, err
		}
		return pahopackets.NewThreadSafeConn(conn), nil
	}
}

// connected waits for the connection of the moment.
func (c *pahoClient) connected(ctx context.Context) (*paho.Client, error) {
	for {
		c.mu.Lock()
		cli, up := c.current, c.up
		c.mu.Unlock()
		if cli != nil {
			return cli, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *pahoClient) publish(ctx context.Context, m message) error {
	cli, err := c.connected(ctx)
	if err != nil {
		return err
	}
	return published(cli.Publish(ctx, publishV5(m)))
}

func (c *pahoClient) enqueue(context.Context, message) error { return errCannotEnqueue }

func (c *pahoClient) subscribe(ctx context.Context, filter string, qos byte) error {
	cli, err := c.connected(ctx)
	if err != nil {
		return err
	}
	_, err = cli.Subscribe(ctx, subscribeV5(filter, qos))
	return err
}

func (c *pahoClient) inbox() *inbox { return c.in }

func (c *pahoClient) disconnect(context.Context) error {
	c.stop()
	c.running.Wait()
	return c.config.Session.Close()
}
