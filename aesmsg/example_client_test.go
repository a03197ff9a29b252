package aesmsg_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// startBroker stands for any MQTT broker.
func startBroker() (server *url.URL, stop func() error) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return broker.URL(brokers.TCP), broker.Close
}

// await waits for what a client has started, and ends the program if it fails.
func await(token mqtt.Token) {
	if !token.WaitTimeout(time.Minute) {
		log.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		log.Fatal(err)
	}
}

// An application on paho.golang (MQTT 5): the call of Wrap is all that sealing adds
// to what it does with its client.
func ExampleSealer_Wrap() {
	server, stop := startBroker()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	received := make(chan string, 1)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{server},
		KeepAlive:  20,
		ClientConfig: paho.ClientConfig{
			ClientID: "thermometer", // what it has received is remembered under this
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) {
					received <- p.Packet.Topic + " " + string(p.Packet.Payload)
					return true, nil
				},
			},
		},
	}

	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{exampleKey("site/#", 1)}})
	if err != nil {
		log.Fatal(err)
	}
	cm, err := autopaho.NewConnection(ctx, sealer.Wrap(cfg))
	if err != nil {
		log.Fatal(err)
	}

	if err := cm.AwaitConnection(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := cm.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: "site/7/temp", QoS: 1}},
	}); err != nil {
		log.Fatal(err)
	}
	if _, err := cm.Publish(ctx, &paho.Publish{Topic: "site/7/temp", QoS: 1, Payload: []byte("21.5")}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-received)
	cm.Disconnect(ctx)
	// Output: site/7/temp 21.5
}

// An application on paho.mqtt.golang (MQTT 3.1.1): the call of WrapV3 is all that
// sealing adds to what it does with its client.
func ExampleSealer_WrapV3() {
	server, stop := startBroker()
	defer stop()
	opts := mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("thermometer")

	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{exampleKey("site/#", 1)}})
	if err != nil {
		log.Fatal(err)
	}
	client := mqtt.NewClient(sealer.WrapV3(opts))

	received := make(chan string, 1)
	await(client.Connect())
	await(client.Subscribe("site/7/temp", 1, func(_ mqtt.Client, m mqtt.Message) {
		received <- m.Topic() + " " + string(m.Payload())
	}))
	await(client.Publish("site/7/temp", 1, false, "21.5"))
	fmt.Println(<-received)
	client.Disconnect(250)
	// Output: site/7/temp 21.5
}

// What is refused does not reach the application; Rejected tells why. Here somebody
// without the key publishes.
func ExampleConfig_rejected() {
	server, stop := startBroker()
	defer stop()

	rejected := make(chan aesmsg.Rejection, 16)
	sealer, err := aesmsg.New(aesmsg.Config{
		Keys: []aesmsg.Key{exampleKey("site/#", 1)},
		Rejected: func(r aesmsg.Rejection) {
			select {
			case rejected <- r: // for a goroutine that may take its time
			default: // the connection must not wait, even in a flood
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	opts := mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("valve")
	client := mqtt.NewClient(sealer.WrapV3(opts))
	await(client.Connect())
	await(client.Subscribe("site/valve", 1, func(_ mqtt.Client, m mqtt.Message) {
		fmt.Printf("received %q\n", m.Payload())
	}))

	stranger := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("stranger"))
	await(stranger.Connect())
	await(stranger.Publish("site/valve", 1, false, "open"))

	r := <-rejected
	fmt.Println(r.ClientID, r.Topic, r.Outgoing, r.Err)
	stranger.Disconnect(250)
	client.Disconnect(250)
	// Output: valve site/valve false mqttsec: not a sealed message
}

// A log of refusals, with the labels by which a metrics library would count them: why, and in which direction. The
// topic is for the log only, as a stranger chooses it and could make up any number.
func ExampleConfig_rejectedLogged() {
	logged := make(chan struct{}, 1)
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	sealer, err := aesmsg.New(aesmsg.Config{
		Keys: []aesmsg.Key{exampleKey("site/#", 1)},
		Rejected: func(r aesmsg.Rejection) {
			logger.Warn("refused", "why", r.Err, "outgoing", r.Outgoing, "client", r.ClientID, "topic", r.Topic)
			logged <- struct{}{}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	server, stop := startBroker()
	defer stop()
	client := mqtt.NewClient(sealer.WrapV3(mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("valve")))
	await(client.Connect())
	await(client.Subscribe("site/#", 1, nil))
	publishPlain(server, "site/valve")
	<-logged
	client.Disconnect(250)
	// Output: level=WARN msg=refused why="mqttsec: not a sealed message" outgoing=false client=valve topic=site/valve
}

// publishPlain publishes as somebody who has no key.
func publishPlain(server *url.URL, topic string) {
	stranger := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("stranger"))
	await(stranger.Connect())
	await(stranger.Publish(topic, 1, false, "open"))
	stranger.Disconnect(250)
}

// withoutTime makes the output of an example the same each time.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// With signatures a receiver accepts named publishers only. Who it was, Delivered tells:
// MQTT has no field for that.
func ExampleConfig_delivered() {
	server, stop := startBroker()
	defer stop()
	key := exampleKey("site/#", 1)
	annsPublic, annsPrivate, _ := ed25519.GenerateKey(nil)
	bobsPublic, _, _ := ed25519.GenerateKey(nil)
	names := map[string]string{string(annsPublic): "Ann", string(bobsPublic): "Bob"}

	reader, err := aesmsg.New(aesmsg.Config{
		Keys:       []aesmsg.Key{key},
		Publishers: []ed25519.PublicKey{annsPublic, bobsPublic},
		Delivered: func(d aesmsg.Delivery) {
			fmt.Printf("%s says on %s\n", names[string(d.Publisher)], d.Topic)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	received := make(chan string, 1)
	valve := mqtt.NewClient(reader.WrapV3(mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("valve")))
	await(valve.Connect())
	await(valve.Subscribe("site/valve", 1, func(_ mqtt.Client, m mqtt.Message) { received <- string(m.Payload()) }))

	author, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Signer: annsPrivate})
	if err != nil {
		log.Fatal(err)
	}
	ann := mqtt.NewClient(author.WrapV3(mqtt.NewClientOptions().AddBroker(server.String()).SetClientID("ann")))
	await(ann.Connect())
	await(ann.Publish("site/valve", 1, false, "open"))
	fmt.Println(<-received)
	ann.Disconnect(250)
	valve.Disconnect(250)
	// Output:
	// Ann says on site/valve
	// open
}
