package aesmsg_test

import (
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// A fleet that is in use moves over in three steps, each a Config for as long as it takes. A device may be a step ahead
// of another or behind it, not more.
func ExampleUnsealed() {
	key := exampleKey("site/#", 1)
	var stillUnsealed atomic.Int64
	count := func(d aesmsg.Delivery) {
		if d.Unsealed {
			stillUnsealed.Add(1)
		}
	}
	until := time.Date(2035, time.March, 1, 0, 0, 0, 0, time.UTC)

	// 1. Wrap the receivers: they take both, and publish as before.
	receives := aesmsg.Config{
		Keys:                   []aesmsg.Key{key},
		InsecureAcceptUnsealed: []aesmsg.Unsealed{{Filter: "site/#", Until: until}},
		InsecureSendUnsealed:   []aesmsg.Unsealed{{Filter: "site/#", Until: until}},
		Delivered:              count,
	}
	// 2. Wrap the publishers: they seal, also what still lies in their queues and stores.
	publishes := aesmsg.Config{
		Keys:                   []aesmsg.Key{key},
		InsecureAcceptUnsealed: []aesmsg.Unsealed{{Filter: "site/#", Until: until}},
		InsecureSealStored:     until,
		Delivered:              count,
	}
	// 3. When nothing arrives unsealed any more, close the door.
	closed := aesmsg.Config{Keys: []aesmsg.Key{key}}

	for _, cfg := range []aesmsg.Config{receives, publishes, closed} {
		if _, err := aesmsg.New(cfg); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("unsealed so far:", stillUnsealed.Load())
	// Output: unsealed so far: 0
}
