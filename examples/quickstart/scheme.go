package main

import (
	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// A scheme is what this program uses of a payload scheme: one method for each
// client library.
type scheme interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// A protector makes scheme values that share one key. rejected, if not nil,
// hears of what a value refuses.
type protector func(rejected func(aesmsg.Rejection)) (scheme, error)

// schemes makes, by the names that -scheme takes, a new key for the topics that
// a filter matches.
var schemes = map[string]func(filter string) (protector, error){
	"aes": func(filter string) (protector, error) {
		key, err := aesmsg.GenerateKey(filter)
		if err != nil {
			return nil, err
		}
		return func(rejected func(aesmsg.Rejection)) (scheme, error) {
			return aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Rejected: rejected})
		}, nil
	},
}
