package tlspsk_test

import (
	"context"
	"fmt"
	"io"
	"net"

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
