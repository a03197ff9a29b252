package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// A server is the broker to run against, and how to get in.
type server struct {
	url      *url.URL
	user     string
	password string
	tls      *tls.Config
	passed   chan message // what the broker itself handled; nil if nobody can look inside
}

// external is the server that the user named.
func external(broker, user, password, cafile string) (server, error) {
	u, err := url.Parse(broker)
	if err != nil {
		return server{}, fmt.Errorf("-broker: %w", err)
	}
	if u.Host == "" {
		return server{}, fmt.Errorf("-broker %q: want a URL, tcp://127.0.0.1:1883 for example", broker)
	}
	switch u.Scheme {
	case "mqtt", "tcp", "mqtts", "tls", "ssl", "ws", "wss":
	default:
		return server{}, fmt.Errorf("-broker %q: unknown scheme %q; tcp, tls, ws and wss will do", broker, u.Scheme)
	}
	if u.Port() == "" && u.Scheme != "ws" && u.Scheme != "wss" {
		return server{}, fmt.Errorf("-broker %q: name the port as well, often 1883, and 8883 with TLS", broker)
	}
	s := server{url: u, user: user, password: password, tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	if cafile != "" {
		pem, err := os.ReadFile(cafile)
		if err != nil {
			return server{}, fmt.Errorf("-cafile: %w", err)
		}
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
			return server{}, fmt.Errorf("-cafile %s: no certificate in it", cafile)
		}
	}
	return s, nil
}

// embedded starts a broker in this process that shows what it handles.
func embedded() (server, func(), error) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	if err != nil {
		return server{}, nil, err
	}
	tap := &tap{passed: make(chan message, 64)}
	if err := broker.Server.AddHook(tap, nil); err != nil {
		return server{}, nil, errors.Join(err, broker.Close())
	}
	stop := func() { _ = broker.Close() } // the program ends: nothing depends on it any more
	return server{url: broker.URL(brokers.TCP), passed: tap.passed}, stop, nil
}

// tap looks at each publication from within the broker.
type tap struct {
	mochi.HookBase
	passed chan message
}

func (*tap) ID() string { return "tap" }

func (*tap) Provides(event byte) bool { return event == mochi.OnPublish }

func (t *tap) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	select {
	case t.passed <- message{p.TopicName, bytes.Clone(p.Payload)}:
	default: // nobody looks any more; the broker must not wait for that
	}
	return p, nil
}

// v5 is a client of paho.golang for this server: plain, or protected.
func (s server) v5(id string, protection scheme) v5 {
	cfg := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{s.url},
		TlsCfg:                        s.tls,
		KeepAlive:                     20,
		CleanStartOnInitialConnection: true,
		ConnectTimeout:                10 * time.Second,
		ConnectUsername:               s.user,
		ConnectPassword:               []byte(s.password),
		ClientConfig:                  paho.ClientConfig{ClientID: id},
	}
	if protection != nil {
		cfg = protection.Wrap(cfg)
	}
	return v5(cfg)
}

// v3 is a client of paho.mqtt.golang for this server: plain, or protected.
func (s server) v3(id string, protection scheme) *v3 {
	opts := mqtt.NewClientOptions().
		AddBroker(s.url.String()).
		SetClientID(id).
		SetProtocolVersion(4).
		SetConnectTimeout(10 * time.Second).
		SetAutoReconnect(false).
		SetUsername(s.user).
		SetPassword(s.password)
	if s.tls != nil {
		opts.SetTLSConfig(s.tls)
	}
	if protection != nil {
		opts = protection.WrapV3(opts)
	}
	return (*v3)(opts)
}
