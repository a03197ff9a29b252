package sidechannel_test

import (
	"fmt"
	"log"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/sidechannel"
)

// A device offers a public key on a topic that it has already, and the owner answers with a token that only the
// device can read.
func Example_channel() {
	owner, err := mqttauth.NewOwnerToken("site/#")
	if err != nil {
		log.Fatal(err)
	}
	token, err := owner.Auth2("site/7/#", time.Now().Add(24*time.Hour))
	if err != nil {
		log.Fatal(err)
	}

	device, err := sidechannel.NewRecipient(time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	offer := device.Offer() // the device publishes it

	answer, err := sidechannel.Answer(offer, token) // the owner publishes it
	if err != nil {
		log.Fatal(err)
	}
	got, err := device.Open(answer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Kind(), got.Filter())
	_, err = device.Open(answer)
	fmt.Println(err)
	// Output:
	// Auth2 site/7/#
	// sidechannel: used before
}
