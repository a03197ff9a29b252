package pake_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"

	"github.com/mqttsec/mqttsec/pake"
)

// Enrol a user: only the verifier reaches the server.
func ExampleNewVerifier() {
	verifier, err := pake.NewVerifier(pake.Config{}, "alice", "broker.example.org", []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	line, err := verifier.MarshalText()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s...\n", line[:len("augpake-p256 AQUBAQAAAAI")])
	fmt.Println(verifier) // redacted
	// Output:
	// augpake-p256 AQUBAQAAAAI...
	// pake.Verifier{P-256}
}

// Log in: four messages, and one key on both sides.
func Example() {
	const user, server = "alice", "broker.example.org"
	verifier, err := pake.NewVerifier(pake.Config{}, user, server, []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}

	// The same on both sides: whatever else has to be authenticated.
	cfg := pake.Config{Context: []byte("session 1")}

	msg1, client, err := pake.Start(cfg, user, server, []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	msg2, responder, err := pake.Respond(cfg, user, server, verifier, msg1)
	if err != nil {
		log.Fatal(err)
	}
	msg3, err := client.Reply(msg2)
	if err != nil {
		log.Fatal(err)
	}
	msg4, serverKey, err := responder.Finish(msg3)
	if err != nil {
		log.Fatal(err)
	}
	clientKey, err := client.Finish(msg4)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(clientKey), bytes.Equal(clientKey, serverKey))
	// Output: 32 true
}

// A wrong password: the server finds out at message 3, and has no message 4.
func ExampleServer_Finish_wrongPassword() {
	const user, server = "alice", "broker.example.org"
	verifier, err := pake.NewVerifier(pake.Config{}, user, server, []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	msg1, client, err := pake.Start(pake.Config{}, user, server, []byte("battery staple"))
	if err != nil {
		log.Fatal(err)
	}
	msg2, responder, err := pake.Respond(pake.Config{}, user, server, verifier, msg1)
	if err != nil {
		log.Fatal(err)
	}
	msg3, err := client.Reply(msg2)
	if err != nil {
		log.Fatal(err)
	}
	msg4, key, err := responder.Finish(msg3)
	fmt.Println(errors.Is(err, pake.ErrProof), msg4 == nil, key == nil)
	// Output: true true true
}

// A server that limits guesses and does not tell who exists.
func ExampleDecoys() {
	const server = "broker.example.org"
	var cfg pake.Config
	stored := map[string]*pake.Verifier{}

	secret := bytes.Repeat([]byte{0x2a}, 32) // random, and kept with the verifiers
	decoys, err := pake.NewDecoys(cfg, secret)
	if err != nil {
		log.Fatal(err)
	}
	budget, err := pake.NewBudget(pake.BudgetConfig{Free: 2})
	if err != nil {
		log.Fatal(err)
	}
	respond := func(user, source string, msg1 []byte) ([]byte, *pake.Server, error) {
		cfg := cfg
		cfg.Budget, cfg.Source = budget, source
		return pake.Respond(cfg, user, server, decoys.Verifier(user, server, stored[user]), msg1)
	}

	for range 3 {
		msg1, _, err := pake.Start(cfg, "nobody", server, []byte("guess"))
		if err != nil {
			log.Fatal(err)
		}
		msg2, _, err := respond("nobody", "192.0.2.7", msg1)
		fmt.Println(len(msg2), err)
	}
	// Output:
	// 94 <nil>
	// 94 <nil>
	// 0 pake: too many attempts, next one in 1s
}
