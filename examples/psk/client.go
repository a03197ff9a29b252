package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"sync/atomic"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// talk publishes, or subscribes and prints until ctx ends.
func talk(ctx context.Context, o options, key []byte, out, told io.Writer) error {
	cfg := tlspsk.Config{Identity: o.identity, Key: key}
	if o.tls12 {
		cfg.MaxVersion = tlspsk.TLS12
	}
	psk, err := tlspsk.New(cfg)
	if err != nil {
		return err
	}
	server, err := url.Parse(o.broker)
	if err != nil {
		return err
	}
	connecting, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var connected atomic.Bool
	manager, err := autopaho.NewConnection(ctx, psk.Wrap(autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{server},
		KeepAlive:                     20,
		CleanStartOnInitialConnection: true,
		OnConnectionUp: func(cm *autopaho.ConnectionManager, _ *paho.Connack) {
			connected.Store(true)
			if o.publish == nil { // again after each reconnection
				if err := subscribe(ctx, cm, o.topic); err != nil {
					fail(err)
					return
				}
				fmt.Fprintln(told, "psk: subscribed to", o.topic)
			}
		},
		OnConnectError: func(err error) {
			if connected.Load() {
				fmt.Fprintln(told, "psk:", err) // and try again
			} else {
				fail(err)
			}
		},
		ClientConfig: paho.ClientConfig{
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) {
					fmt.Fprintf(out, "%s %s\n", p.Packet.Topic, p.Packet.Payload)
					return true, nil
				},
			},
		},
	}))
	if err != nil {
		return err
	}
	if err := manager.AwaitConnection(connecting); err != nil {
		return context.Cause(connecting)
	}
	if o.publish != nil {
		if _, err := manager.Publish(ctx, &paho.Publish{Topic: o.topic, QoS: 1, Payload: []byte(*o.publish)}); err != nil {
			return err
		}
		return manager.Disconnect(ctx)
	}
	<-connecting.Done()
	if ctx.Err() == nil {
		return context.Cause(connecting)
	}
	<-manager.Done() // says DISCONNECT
	return nil
}

func subscribe(ctx context.Context, cm *autopaho.ConnectionManager, filter string) error {
	_, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	return nil
}
