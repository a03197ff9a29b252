package present_test

import (
	"fmt"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/present"
)

// Seal and open with PRESENT what travels through other people's brokers.
func ExampleNew() {
	key, err := present.GenerateKey("site/#")
	if err != nil {
		panic(err)
	}
	sender, err := present.New(present.Config{Keys: []present.Key{key}})
	if err != nil {
		panic(err)
	}
	receiver, err := present.New(present.Config{Keys: []present.Key{key}})
	if err != nil {
		panic(err)
	}

	sealed, err := sender.Seal("site/7/temp", []byte("21.5"))
	if err != nil {
		panic(err)
	}
	payload, err := receiver.Open("site/7/temp", sealed)
	fmt.Println(string(payload), err, len(sealed)-len(payload))
	_, err = receiver.Open("site/8/temp", sealed)
	fmt.Println(err)
	// Output:
	// 21.5 <nil> 34
	// mqttsec: message sealed under an unknown key or for another topic
}

// An application on paho.golang (MQTT 5) or paho.mqtt.golang (MQTT 3.1.1) wraps its options once.
func ExampleSealer_Wrap() {
	key, err := present.GenerateKey("site/#")
	if err != nil {
		panic(err)
	}
	sealer, err := present.New(present.Config{Keys: []present.Key{key}})
	if err != nil {
		panic(err)
	}
	_ = sealer.Wrap(autopaho.ClientConfig{})   // for autopaho.NewConnection
	_ = sealer.WrapV3(mqtt.NewClientOptions()) // for mqtt.NewClient
}
