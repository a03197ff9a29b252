package aesmsg_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// exampleKey stands for a key from configuration.
func exampleKey(filter string, first byte) aesmsg.Key {
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = first + byte(i)
	}
	key, err := aesmsg.NewKey(filter, secret)
	if err != nil {
		log.Fatal(err)
	}
	return key
}

func ExampleSealer_Seal() {
	key := exampleKey("site/#", 1)
	publisher, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil {
		log.Fatal(err)
	}
	subscriber, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil {
		log.Fatal(err)
	}

	sealed, err := publisher.Seal("site/7/temp", []byte("21.5"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(sealed), "bytes on the wire")

	payload, err := subscriber.Open("site/7/temp", sealed)
	fmt.Printf("%s %v\n", payload, err)

	_, err = subscriber.Open("site/7/temp", sealed)
	fmt.Println(errors.Is(err, aesmsg.ErrReplay))
	_, err = subscriber.Open("site/8/temp", sealed)
	fmt.Println(errors.Is(err, aesmsg.ErrUnknownKey))
	// Output:
	// 46 bytes on the wire
	// 21.5 <nil>
	// true
	// true
}

// To change a key, put the new one first everywhere, and drop the old one when
// nothing that was sealed with it is under way or retained any more.
func ExampleConfig_rotation() {
	older, newer := exampleKey("site/#", 1), exampleKey("site/#", 2)
	before, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{older}})
	during, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{newer, older}})
	after, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{newer}})

	sealed, _ := before.Seal("site/7", []byte("from before"))
	payload, err := during.Open("site/7", sealed)
	fmt.Printf("%s %v\n", payload, err)

	sealed, _ = during.Seal("site/7", []byte("from then on"))
	payload, err = after.Open("site/7", sealed)
	fmt.Printf("%s %v\n", payload, err)
	// Output:
	// from before <nil>
	// from then on <nil>
}

// A device gets the key of its own branch and can do without the others'.
func ExampleKey_sub() {
	site := exampleKey("site/#", 1)
	device, err := site.Sub("site/7/#")
	if err != nil {
		log.Fatal(err)
	}
	sealer, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{device}})
	sealed, _ := sealer.Seal("site/7/temp", []byte("21.5"))

	// The centre has the whole site's key and need not know of the device's.
	centre, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{site}})
	payload, err := centre.Open("site/7/temp", sealed)
	fmt.Printf("%s %v\n", payload, err)

	_, err = sealer.Seal("site/8/temp", nil)
	fmt.Println(err)
	_, err = site.Sub("site/+")
	fmt.Println(err)
	// Output:
	// 21.5 <nil>
	// mqttsec: no key for this topic: "site/8/temp"
	// mqttsec: invalid key: "site/+" names no level more than "site/#"
}

// Keys are read from configuration by their text form.
func ExampleKey_text() {
	text := []byte(`{"keys": ["mqttsec:AEAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB643JORSS6I2OYA5GO"]}`)
	var file struct{ Keys []aesmsg.Key }
	if err := json.Unmarshal(text, &file); err != nil {
		log.Fatal(err)
	}
	fmt.Println(file.Keys[0].Filter())
	fmt.Println(file.Keys[0]) // printing does not give it away

	var mistyped aesmsg.Key
	fmt.Println(mistyped.UnmarshalText(bytes.Replace(text[11:88], []byte("AQDAQ"), []byte("AQDAR"), 1)))
	// Output:
	// site/#
	// mqttsec.Key("site/#", secret hidden)
	// mqttsec: invalid key: the text's checksum is wrong: mistyped or cut off
}

// All holders of a key can publish; a signature tells them apart.
func ExampleSealer_OpenSigned() {
	key := exampleKey("site/#", 1)
	public, private, _ := ed25519.GenerateKey(nil)
	author, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Signer: private})
	other, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	reader, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Publishers: []ed25519.PublicKey{public}})

	sealed, _ := author.Seal("site/valve", []byte("open"))
	payload, by, err := reader.OpenSigned("site/valve", sealed)
	fmt.Printf("%s %v %v\n", payload, public.Equal(by), err)

	sealed, _ = other.Seal("site/valve", []byte("open"))
	_, _, err = reader.OpenSigned("site/valve", sealed)
	fmt.Println(err)
	// Output:
	// open true <nil>
	// mqttsec: message authentication failed
}

// Without an allocation, into buffers of one's own.
func ExampleSealer_AppendSeal() {
	key := exampleKey("site/#", 1)
	sealer, _ := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	buf := make([]byte, 0, 1024)
	for _, reading := range []string{"21.5", "21.6"} {
		sealed, err := sealer.AppendSeal(buf[:0], "site/7/temp", []byte(reading))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(sealed))
	}
	// Output:
	// 46
	// 46
}
