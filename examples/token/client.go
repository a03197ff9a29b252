package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/ace"
)

// tokens is all that the client's code has to do with tokens.
func (o *options) tokens(trust *tls.Config) (*ace.Authenticator, error) {
	as, err := ace.NewAS(ace.ASConfig{
		Endpoint:     o.as,
		ClientID:     o.id,
		ClientSecret: o.secret,
		Audience:     o.audience,
		TLS:          trust,
	})
	if err != nil {
		return nil, err
	}
	return ace.New(ace.Config{Source: as})
}

// trust is what server and broker are verified with.
func (o *options) trust() (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.cafile == "" {
		return trust, nil
	}
	pem, err := os.ReadFile(o.cafile)
	if err != nil {
		return nil, err
	}
	trust.RootCAs = x509.NewCertPool()
	if !trust.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", o.cafile)
	}
	return trust, nil
}

// roundTrip subscribes, publishes, and returns what came.
func (o *options) roundTrip(ctx context.Context) (string, error) {
	trust, err := o.trust()
	if err != nil {
		return "", err
	}
	auth, err := o.tokens(trust)
	if err != nil {
		return "", err
	}
	received := make(chan string, 1)
	got := func(text []byte) {
		select {
		case received <- string(text):
		default: // one is enough
		}
	}
	run := o.mqtt5
	if o.v3 {
		run = o.mqtt311
	}
	end, err := run(ctx, auth, trust, got)
	if err != nil {
		return "", err
	}
	defer end()
	select {
	case text := <-received:
		return text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// notAuthorized is the reason code of MQTT 5 for what a token does not allow.
const notAuthorized = 0x87

// mqtt5 does it with paho.golang.
func (o *options) mqtt5(ctx context.Context, auth *ace.Authenticator, trust *tls.Config, got func([]byte)) (end func(), err error) {
	server, err := url.Parse(o.broker)
	if err != nil {
		return nil, err
	}
	connecting, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, TlsCfg: trust, KeepAlive: 20, CleanStartOnInitialConnection: true,
		OnConnectError: func(err error) { fail(err) },
		ClientConfig: paho.ClientConfig{
			ClientID: o.id,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) { got(p.Packet.Payload); return true, nil },
			},
		},
	}
	running, stop := context.WithCancel(ctx)
	cm, err := autopaho.NewConnection(running, auth.Wrap(cfg))
	if err != nil {
		stop()
		return nil, err
	}
	end = func() { stop(); <-cm.Done() } // with DISCONNECT
	if err := cm.AwaitConnection(connecting); err != nil {
		end()
		return nil, context.Cause(connecting)
	}
	answer, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: o.topic, QoS: 1}}})
	if err != nil {
		end()
		if answer != nil && slices.Contains(answer.Reasons, notAuthorized) { // of which paho's error says nothing
			return nil, fmt.Errorf("subscribe to %s: not authorized", o.topic)
		}
		return nil, err
	}
	if _, err := cm.Publish(ctx, &paho.Publish{Topic: o.topic, QoS: 1, Payload: []byte(o.text)}); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// mqtt311 does it with paho.mqtt.golang.
func (o *options) mqtt311(ctx context.Context, auth *ace.Authenticator, trust *tls.Config, got func([]byte)) (end func(), err error) {
	opts := mqtt.NewClientOptions().AddBroker(o.broker).SetClientID(o.id).SetTLSConfig(trust).SetAutoReconnect(false)
	client := mqtt.NewClient(auth.WrapV3(opts))
	done := func(token mqtt.Token) error {
		select {
		case <-token.Done():
			return token.Error()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	end = func() { client.Disconnect(250) }
	if err := done(client.Connect()); err != nil {
		end()
		return nil, err
	}
	subscribed := client.Subscribe(o.topic, 1, func(_ mqtt.Client, m mqtt.Message) { got(m.Payload()) })
	err = errors.Join(done(subscribed), done(client.Publish(o.topic, 1, false, o.text)))
	if err == nil && subscribed.(*mqtt.SubscribeToken).Result()[o.topic] > 2 { // which the library calls no error
		err = errors.New("the broker refuses to subscribe " + o.topic)
	}
	switch {
	case err != nil && !client.IsConnectionOpen():
		return nil, fmt.Errorf("not allowed, for which MQTT 3.1.1 has no word but the end of the connection: %w", err)
	case err != nil:
		end()
		return nil, err
	}
	return end, nil
}
