package mqttauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// An owner makes a token for one branch of its topics, offline. Its holder publishes there, and seals what it
// publishes under the key that came with it.
func Example_token() {
	owner, err := mqttauth.NewOwnerToken("site/#")
	if err != nil {
		log.Fatal(err)
	}
	expires := time.Date(2040, time.January, 1, 0, 0, 0, 0, time.UTC)
	token, err := owner.Auth1("site/7/#", expires)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token)
	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{token.Key()}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = sealer.Seal("site/7/temperature", []byte("21.5"))
	fmt.Println(err)
	// Output:
	// mqttauth.Token(Auth1 "site/7/#" until 2040-01-01T00:00:00Z, secret hidden)
	// <nil>
}

// The options that an application has made are wrapped once; nothing else changes.
func Example() {
	client, err := mqttauth.New(mqttauth.Config{
		User:     "alice",
		Password: []byte("correct horse battery staple"),
		Server:   "broker.example",
		Wallet:   mqttauth.NewWallet(),
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client.Wrap(autopaho.ClientConfig{})   // MQTT v5
	_ = client.WrapV3(mqtt.NewClientOptions()) // MQTT 3.1.1
	fmt.Println(client)
	// Output: mqttauth.Client{alice}
}

// Beside a broker that knows nothing of MQTT-Auth: the account in Bootstrap, which everybody may know, is for the
// handshake, and what the authority then issues is for the connection.
func ExampleConfig_twoPhase() {
	client, err := mqttauth.New(mqttauth.Config{
		User:      "alice",
		Password:  []byte("correct horse battery staple"),
		Server:    "broker.example",
		ClientID:  "meter7",
		TwoPhase:  true,
		Bootstrap: mqttauth.Account{Username: "bootstrap", Password: "bootstrap"},
		Wallet:    mqttauth.NewWallet(),
	})
	if err != nil {
		log.Fatal(err)
	}
	opts := mqtt.NewClientOptions().AddBroker("mqtts://broker.example:8883").SetClientID("meter7")
	_ = client.WrapV3(opts)
	fmt.Println(client)
	// Output: mqttauth.Client{alice}
}

// An owner claims topics at the authority, once, and makes tokens for others, who present them; all over the connection
// that the client has.
func ExampleClient_Claim() {
	share := func(ctx context.Context, client *mqttauth.Client, owner mqttauth.OwnerToken) (reader []byte, err error) {
		if _, err := client.Claim(ctx, owner, 30*24*time.Hour); errors.Is(err, mqttauth.ErrTaken) {
			return nil, fmt.Errorf("somebody else was first: %w", err)
		} else if err != nil {
			return nil, err
		}
		tomorrow := time.Now().Add(24 * time.Hour)
		write, err := owner.Auth1("site/7/#", tomorrow)
		if err != nil {
			return nil, err
		}
		if err := client.Present(ctx, write); err != nil { // an owner needs a token as others do
			return nil, err
		}
		read, err := owner.Auth2("site/7/#", tomorrow)
		if err != nil {
			return nil, err
		}
		return read.MarshalText() // for the reader, over a channel that keeps a secret
	}
	_ = share
}
