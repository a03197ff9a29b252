package tlspsk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

func Example() {
	key := []byte{0x3d, 0x90, 0x44, 0x0a, 0x6c, 0xf1, 0x5b, 0x27, 0xe8, 0x13, 0xb2, 0x79, 0xcd, 0x06, 0xaf, 0x58}

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	listener, err := tlspsk.NewListener(inner, &tlspsk.Config{Keys: func(identity string) []byte {
		return map[string][]byte{"sensor-1": key}[identity]
	}})
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()

	conn, err := tlspsk.Dial(context.Background(), "tcp", inner.Addr().String(), &tlspsk.Config{Identity: "sensor-1", Key: key})
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("21.5 °C")); err != nil {
		panic(err)
	}
	if err := conn.CloseWrite(); err != nil {
		panic(err)
	}
	echo, err := io.ReadAll(conn)
	if err != nil {
		panic(err)
	}
	state := conn.ConnectionState()
	fmt.Println(string(echo), state.Version, state.Group, state.Identity)
	// Output: 21.5 °C TLS 1.3 X25519 sensor-1
}

// An application on paho.golang (MQTT 5) or paho.mqtt.golang (MQTT 3.1.1) wraps its options once, with the key that
// mosquitto's psk_file has for its identity.
func ExampleScheme_Wrap() {
	keys, err := tlspsk.ReadKeys(strings.NewReader("sensor-1:3d90440a6cf15b27e813b279cd06af58\n"))
	if err != nil {
		panic(err)
	}
	psk, err := tlspsk.New(tlspsk.Config{Identity: "sensor-1", Key: keys["sensor-1"]})
	if err != nil {
		panic(err)
	}

	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: "mqtts", Host: "broker.example:8883"}},
		OnConnectError: func(err error) {
			var alert tlspsk.AlertError
			switch {
			case errors.Is(err, tlspsk.ErrAuthentication):
				fmt.Println("that is not our broker:", err)
			case errors.As(err, &alert):
				fmt.Println("the broker does not take us:", alert.Name())
			}
		},
	}
	_ = psk.Wrap(cfg) // for autopaho.NewConnection

	opts := mqtt.NewClientOptions().AddBroker("mqtts://broker.example:8883")
	_ = psk.WrapV3(opts) // for mqtt.NewClient
}
