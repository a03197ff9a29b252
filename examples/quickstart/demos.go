package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// A demo is what -scheme picks. Each has a file of its own.
type demo struct {
	about string // what it shows, in one line of the help text
	alone bool   // brings its own broker, so that -broker does not go with it
	run   func(ctx context.Context, s stage) error
}

// demos are all of them, by the names that -scheme takes.
var demos = map[string]demo{
	"ace":          {about: "access tokens bound to a key, OAuth for MQTT (ace)", alone: true, run: aceDemo},
	"aes":          {about: "payloads sealed with AES (aesmsg)", run: aesDemo},
	"mqttauth":     {about: "passwords that are never sent, and tokens for topics (mqttauth)", alone: true, run: mqttAuthDemo},
	"mqtt-present": {about: "MQTT-PRESENT: the same, payloads sealed with PRESENT twice, and signed", alone: true, run: mqttPresentDemo},
	"psk":          {about: "TLS with a key for each device and no certificates (mqttauth/tlspsk)", alone: true, run: pskDemo},
	"present":      {about: "payloads sealed with PRESENT, for interoperation (present)", run: presentDemo},
}

// A stage is what a demo finds when it begins. It prints what is to be seen,
// and returns an error if something else is seen.
type stage struct {
	out    io.Writer
	server server // the broker to run against; none for a demo that brings its own
	base   string // the topic that all of the demo's topics are below

	lifetime time.Duration // of tokens
}

// A scheme is what an application needs to know of one: a method for each
// client library.
type scheme interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// listDemos is the part of the help text that tells them apart.
func listDemos(out io.Writer) {
	fmt.Fprintln(out, "\nschemes:")
	for _, name := range slices.Sorted(maps.Keys(demos)) {
		fmt.Fprintf(out, "  %-12s %s\n", name, demos[name].about)
	}
}
