// Command request asks a question over MQTT 5 and waits for the answer to it, with everything sealed: the question and
// the answer, and also where the answer is to go and what it belongs to, so that nobody in between can lead it
// elsewhere. With -answer it is the other side, which sends each question back in capitals.
//
//	go run ./examples/keys new -out home.key 'home/#'
//	go run ./examples/request -key home.key -answer home/questions &
//	go run ./examples/request -key home.key home/questions 'is the door open?'
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/mqttsec/mqttsec/aesmsg"
)

func main() {
	broker := flag.String("broker", "tcp://localhost:1883", "`URL` of the broker")
	file := flag.String("key", "", "`file` with a key, as examples/keys makes it, that covers the topic and those below")
	answers := flag.Bool("answer", false, "answer questions until interrupted")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: request [-broker URL] -key file {-answer topic | topic question}")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *file == "" || *answers && flag.NArg() != 1 || !*answers && flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := connect(ctx, *broker, *file)
	if err != nil {
		log.Fatal(err)
	}
	if *answers {
		err = c.answer(ctx, flag.Arg(0), bytes.ToUpper)
	} else {
		var answer []byte
		if answer, err = c.ask(ctx, flag.Arg(0), []byte(flag.Arg(1))); err == nil {
			fmt.Printf("%s\n", answer)
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// client is an ordinary MQTT 5 client; what comes is in messages.
type client struct {
	*autopaho.ConnectionManager
	messages chan *paho.Publish
}

func connect(ctx context.Context, broker, file string) (*client, error) {
	server, err := url.Parse(broker)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var key aesmsg.Key
	if err := key.UnmarshalText(text); err != nil {
		return nil, err
	}
	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil {
		return nil, err
	}
	c := &client{messages: make(chan *paho.Publish, 16)}
	cfg := autopaho.ClientConfig{
		ServerUrls:     []*url.URL{server},
		KeepAlive:      20,
		OnConnectError: func(err error) { log.Print(err) },
		ClientConfig: paho.ClientConfig{OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) {
				select {
				case c.messages <- p.Packet:
				case <-ctx.Done():
				}
				return true, nil
			},
		}},
	}
	if c.ConnectionManager, err = autopaho.NewConnection(ctx, sealer.Wrap(cfg)); err != nil {
		return nil, err
	}
	return c, c.AwaitConnection(ctx)
}

func (c *client) subscribe(ctx context.Context, topic string) error {
	_, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}})
	return err
}

// ask publishes a question and returns the answer to it.
func (c *client) ask(ctx context.Context, topic string, question []byte) ([]byte, error) {
	id := rand.Text()
	answers := topic + "/answers/" + id // below the topic, so that the same key covers it
	if err := c.subscribe(ctx, answers); err != nil {
		return nil, err
	}
	properties := &paho.PublishProperties{ResponseTopic: answers, CorrelationData: []byte(id)}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: question, Properties: properties}); err != nil {
		return nil, err
	}
	for {
		select {
		case m := <-c.messages:
			if m.Properties != nil && string(m.Properties.CorrelationData) == id {
				return m.Payload, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answer answers what is asked on topic until ctx ends. That a question names the topic for its answer is as good as
// the key: who does not have it cannot have questions delivered here.
func (c *client) answer(ctx context.Context, topic string, with func(question []byte) []byte) error {
	if err := c.subscribe(ctx, topic); err != nil {
		return err
	}
	log.Printf("answering on %s", topic)
	for {
		select {
		case m := <-c.messages:
			if m.Properties == nil || m.Properties.ResponseTopic == "" {
				continue
			}
			properties := &paho.PublishProperties{CorrelationData: m.Properties.CorrelationData}
			answer := &paho.Publish{Topic: m.Properties.ResponseTopic, QoS: 1, Payload: with(m.Payload), Properties: properties}
			if _, err := c.Publish(ctx, answer); err != nil && ctx.Err() == nil { // else the acknowledgement is not awaited
				return err
			}
		case <-ctx.Done():
			return c.Disconnect(context.WithoutCancel(ctx))
		}
	}
}
