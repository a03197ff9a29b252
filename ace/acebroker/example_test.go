package acebroker_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"

	"github.com/mqttsec/mqttsec/ace/acebroker"
)

// A listener in front of a broker. Its client has no token, and is told where to get one.
func ExampleNewListener() {
	website := httptest.NewTLSServer(nil) // for its certificate
	defer website.Close()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	listener, err := acebroker.NewListener(inner, acebroker.Config{
		TLS:        &tls.Config{Certificates: website.TLS.Certificates},
		Algorithms: []acebroker.Algorithm{acebroker.EdDSA},
		Issuers: []acebroker.Issuer{{
			Name: "https://as.example.com",
			Keys: acebroker.StaticKeys{{ID: "2026", Algorithm: acebroker.EdDSA, Key: public}},
		}},
		Audience: []string{"mqtts://broker.example.com"},
		Hint:     &acebroker.Hint{AS: "https://as.example.com/token"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	// The broker takes its connections from listener.Accept.

	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // an example's
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "\x10\x16\x00\x04MQTT\x05\x02\x00\x3c\x06\x15\x00\x03ace\x00\x03dev") // CONNECT with the method ace
	answer, _ := io.ReadAll(conn)
	fmt.Printf("CONNACK 0x%02X %s\n", answer[3], answer[len(answer)-37:])
	fmt.Println(listener.Counters().Admitted, "admitted")
	// Output:
	// CONNACK 0x87 {"AS":"https://as.example.com/token"}
	// 0 admitted
}
