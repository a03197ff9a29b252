// Command v5 publishes one sealed message with paho.golang (MQTT 5) and prints
// it when it comes back. It is a program as the library's users write it; what
// sealing adds to it are the lines between the options and the connection.
//
//	go run ./examples/keys new -out home.key 'home/#'
//	go run ./examples/v5 -broker tcp://localhost:1883 -key home.key home/door open
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/signal"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/mqttsec/mqttsec/aesmsg"
)

func main() {
	broker := flag.String("broker", "tcp://localhost:1883", "`URL` of the broker")
	file := flag.String("key", "", "`file` with a key, as examples/keys makes it")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: v5 [-broker URL] -key file topic text")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 || *file == "" {
		flag.Usage()
		os.Exit(2)
	}
	server, err := url.Parse(*broker)
	if err != nil {
		log.Fatal(err)
	}
	key, err := readKey(*file)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, server, key, flag.Arg(0), flag.Arg(1)); err != nil {
		log.Fatal(err)
	}
}

func readKey(file string) (key aesmsg.Key, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return key, err
	}
	return key, key.UnmarshalText(text)
}

func run(ctx context.Context, out io.Writer, server *url.URL, key aesmsg.Key, topic, text string) error {
	received := make(chan string, 1)
	cfg := autopaho.ClientConfig{
		ServerUrls:     []*url.URL{server},
		KeepAlive:      20,
		OnConnectError: func(err error) { log.Print(err) },
		ClientConfig: paho.ClientConfig{
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) {
					select {
					case received <- string(p.Packet.Payload):
					default: // one is enough
					}
					return true, nil
				},
			},
		},
	}

	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil {
		return err
	}
	cm, err := autopaho.NewConnection(ctx, sealer.Wrap(cfg))
	if err != nil {
		return err
	}

	if err := cm.AwaitConnection(ctx); err != nil {
		return err
	}
	if _, err := cm.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}},
	}); err != nil {
		return err
	}
	if _, err := cm.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(text)}); err != nil {
		return err
	}
	select {
	case text := <-received:
		fmt.Fprintln(out, text)
	case <-ctx.Done():
		return ctx.Err()
	}
	return cm.Disconnect(ctx)
}
