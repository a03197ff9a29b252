// Command device publishes the lines of its standard input over MQTT 3.1.1, as a device does that is often without a
// network: what it cannot send it keeps on its disk, sealed, and sends when it can, also after it was switched off.
//
//	go run ./examples/keys new -out home.key 'home/#'
//	vmstat 10 | go run ./examples/device -key home.key -id meter7 -store meter7.store home/meter7
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
)

func main() {
	broker := flag.String("broker", "tcp://localhost:1883", "`URL` of the broker")
	file := flag.String("key", "", "`file` with a key, as examples/keys makes it")
	id := flag.String("id", "", "`name` of the device: its Client Identifier")
	dir := flag.String("store", "", "`directory` for what is not delivered yet; each device has its own")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: device [-broker URL] -key file -id name -store directory topic < lines")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 || *file == "" || *id == "" || *dir == "" {
		flag.Usage()
		os.Exit(2)
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	var key aesmsg.Key
	if err := key.UnmarshalText(text); err != nil {
		log.Fatal(err)
	}
	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if left := run(ctx, os.Stdin, sealer, *broker, *id, *dir, flag.Arg(0)); left > 0 {
		log.Printf("%d messages wait in %s for the next run", left, *dir)
	}
}

// run publishes what it reads until there is no more, or ctx ends, and returns how many messages are left in the store.
func run(ctx context.Context, in io.Reader, sealer *aesmsg.Sealer, broker, id, dir, topic string) (left int) {
	store := mqtt.NewFileStore(dir)
	opts := mqtt.NewClientOptions().
		AddBroker(broker).
		SetClientID(id).
		SetCleanSession(false). // the broker remembers what it has had of this device, and so does the store
		SetStore(store).
		SetConnectRetry(true). // the network may come later than the device
		SetConnectRetryInterval(time.Second).
		SetMaxReconnectInterval(time.Second)
	client := mqtt.NewClient(sealer.WrapV3(opts))
	client.Connect() // goes on in the background until it succeeds
	defer client.Disconnect(250)

	lines := make(chan string)
	go func() {
		defer close(lines)
		for read := bufio.NewScanner(in); read.Scan(); {
			select {
			case lines <- read.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for open := true; open; {
		var line string
		select {
		case line, open = <-lines:
			if open {
				client.Publish(topic, 1, false, line) // stored when it returns
			}
		case <-ctx.Done():
			open = false
		}
	}
	// A token is done when its message is sent again after a connection was lost, which may be lost in turn: the store
	// knows better. What is in it now leaves it when the broker has acknowledged it.
	for len(store.All()) > 0 && ctx.Err() == nil {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return len(store.All())
}
