package wire_test

import (
	"fmt"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// A layer finds a packet in what has arrived, edits it and passes it on.
func Example() {
	arrived := []byte("\x30\x0c\x00\x03a/b\x00secret\xc0\x00")

	n, err := wire.Scan(arrived, 1<<20)
	if err != nil || n == 0 || n > len(arrived) {
		fmt.Println("not yet, or never", err)
		return
	}
	m, err := wire.ParsePublish(arrived[:n], wire.V5)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s: %s\n", wire.Packet(arrived).Type(), m.Topic, m.Payload)

	m.Payload = []byte("sealed")
	m.Properties = m.Properties.Without(wire.ContentType).AppendPair("by", "a layer")
	edited, err := m.Append(nil, wire.V5)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", edited)
	// Output:
	// PUBLISH a/b: secret
	// "0\x1a\x00\x03a/b\x0e&\x00\x02by\x00\aa layersealed"
}
