// Command v3 publishes one sealed message with paho.mqtt.golang (MQTT 3.1.1)
// and prints it when it comes back. It is a program as the library's users
// write it; what sealing adds to it are the lines between the options and the
// client.
//
//	go run ./examples/keys new -out home.key 'home/#'
//	go run ./examples/v3 -broker tcp://localhost:1883 -key home.key home/door open
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
)

func main() {
	broker := flag.String("broker", "tcp://localhost:1883", "`URL` of the broker")
	file := flag.String("key", "", "`file` with a key, as examples/keys makes it")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: v3 [-broker URL] -key file topic text")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 || *file == "" {
		flag.Usage()
		os.Exit(2)
	}
	key, err := readKey(*file)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *broker, key, flag.Arg(0), flag.Arg(1)); err != nil {
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

func run(ctx context.Context, out io.Writer, server string, key aesmsg.Key, topic, text string) error {
	opts := mqtt.NewClientOptions().AddBroker(server)

	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil {
		return err
	}
	client := mqtt.NewClient(sealer.WrapV3(opts))

	if err := done(ctx, client.Connect()); err != nil {
		return err
	}
	defer client.Disconnect(250)
	received := make(chan string, 1)
	if err := done(ctx, client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) {
		select {
		case received <- string(m.Payload()):
		default: // one is enough
		}
	})); err != nil {
		return err
	}
	if err := done(ctx, client.Publish(topic, 1, false, text)); err != nil {
		return err
	}
	select {
	case text := <-received:
		fmt.Fprintln(out, text)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// done waits for what the client has started.
func done(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}
