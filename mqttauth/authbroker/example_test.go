package authbroker_test

import (
	"fmt"
	"log"
	"net"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/pake"
)

func Example() {
	store := authbroker.MemoryStore() // or OpenStore("authority.db")
	defer store.Close()

	// Enrolment, on whatever machine the password is typed in: the verifier is all that leaves it.
	v, err := pake.NewVerifier(pake.Config{}, "alice", "broker.example", []byte("correct horse battery staple"))
	if err != nil {
		log.Fatal(err)
	}
	if err := store.SetUser("alice", v); err != nil {
		log.Fatal(err)
	}

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	l, err := authbroker.NewListener(inner, authbroker.Config{
		Server: "broker.example",
		Store:  store,
		Public: []authbroker.Rule{{Filter: "weather/#", Subscribe: true}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close() // and give l to a broker: what it accepts has logged in

	users, _ := store.Users()
	fmt.Println(users)
	// Output: [alice]
}
