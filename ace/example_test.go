package ace_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"
	"slices"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/ace"
)

// An application on paho.golang wraps its configuration and stays as it is.
func ExampleAuthenticator_Wrap() {
	as, err := ace.NewAS(ace.ASConfig{
		Endpoint:     "https://as.example/token",
		ClientID:     "sensor-7",
		ClientSecret: "wheel-tapper",
		Audience:     "mqtt.example",
		Scope:        ace.Scope{{Filter: "site/7/#", Publish: true}},
	})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := ace.New(ace.Config{Source: as})
	if err != nil {
		log.Fatal(err)
	}

	cfg := autopaho.ClientConfig{
		ServerUrls:   []*url.URL{{Scheme: "mqtts", Host: "mqtt.example:8883"}},
		ClientConfig: paho.ClientConfig{ClientID: "sensor-7"},
		OnConnectError: func(err error) {
			var denied *ace.ASError
			if errors.As(err, &denied) {
				log.Printf("no token for us: %s", denied.Code)
			}
		},
	}
	cm, err := autopaho.NewConnection(context.Background(), auth.Wrap(cfg))
	_, _ = cm, err
}

// With MQTT 3.1.1 a token is renewed by another connection, of which the application is told.
func ExampleAuthenticator_WrapV3() {
	key, err := ace.Secret([]byte("a secret that the broker has, too"))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := ace.New(ace.Config{Source: ace.Static{
		Raw:     []byte("token from somewhere else"),
		Key:     key,
		Expires: time.Now().Add(time.Hour),
	}})
	if err != nil {
		log.Fatal(err)
	}
	opts := mqtt.NewClientOptions().AddBroker("mqtts://mqtt.example:8883").SetClientID("sensor-7").SetCleanSession(false)
	opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		if !errors.Is(err, ace.ErrRenewal) {
			log.Print(err)
		}
	})
	client := mqtt.NewClient(auth.WrapV3(opts))
	_ = client
}

// A broker may say where tokens can be had; whether to go there is decided by the program.
func ExampleConfig_discover() {
	trusted := []string{"https://as.example/token", "https://as2.example/token"}
	_, err := ace.New(ace.Config{Discover: func(_ context.Context, hint ace.Hint) (ace.TokenSource, error) {
		if !slices.Contains(trusted, hint.AS) {
			return nil, fmt.Errorf("%s is not one of ours", hint.AS)
		}
		return ace.NewAS(ace.ASConfig{
			Endpoint: hint.AS, ClientID: "sensor-7", ClientSecret: "wheel-tapper",
			Audience: "mqtt.example", CNonce: hint.CNonce,
		})
	}})
	fmt.Println(err)
	// Output: <nil>
}

// A cloud broker that takes a JWT under a method of its own.
func ExampleNewBearer() {
	as, err := ace.NewAS(ace.ASConfig{
		Endpoint: "https://login.example/token", ClientID: "sensor-7", ClientSecret: "wheel-tapper",
		Bearer: true, OAuthScope: "mqtt", Encoding: ace.Form,
	})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := ace.NewBearer(ace.BearerConfig{Source: as, Method: "OAUTH2-JWT"})
	if err != nil {
		log.Fatal(err)
	}
	cfg := auth.Wrap(autopaho.ClientConfig{ServerUrls: []*url.URL{{Scheme: "mqtts", Host: "mqtt.example:8883"}}})
	_ = cfg
}
