package mqttauth_test

import (
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
