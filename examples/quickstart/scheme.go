package main

import (
	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/present"
)

// A scheme is what this program uses of a payload scheme: one method for each
// client library.
type scheme interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// A maker makes values of one scheme. rejected, if not nil, hears of what a
// value refuses.
type maker func(key aesmsg.Key, rejected func(aesmsg.Rejection)) (scheme, error)

// schemes are the makers by the names that -scheme takes. Keys and refusals are
// the same for all.
var schemes = map[string]maker{
	"aes": func(key aesmsg.Key, rejected func(aesmsg.Rejection)) (scheme, error) {
		return aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Rejected: rejected})
	},
	"present": func(key present.Key, rejected func(present.Rejection)) (scheme, error) {
		return present.New(present.Config{Keys: []present.Key{key}, Rejected: rejected})
	},
}
