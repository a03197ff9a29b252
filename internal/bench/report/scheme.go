package report

import (
	"net"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/pake"
	"github.com/mqttsec/mqttsec/present"
)

// Scheme is one way to protect messages, or none: a row of every table.
type Scheme struct {
	Name string
	// TLS says that the connection to the broker uses TLS.
	TLS bool
	// New makes what goes between client and connection; nil for nothing. Topics
	// start with the given prefix.
	New func(prefix string) (link.Scheme, error)
	// way is to the broker in this process, which has no listener for the scheme; nil is by a listener that it has.
	way func(inner net.Listener) (net.Listener, entrance, error)
}

// Schemes lists what can be compared. The first of those that use TLS, and of those
// that do not, has nothing else: it is what the others are to be compared with.
func Schemes() []Scheme {
	return []Scheme{
		{Name: "plain"},
		{Name: "aesmsg", New: newAES},
		{Name: "present", New: newPresent},
		{Name: "TLS", TLS: true},
		{Name: "aesmsg over TLS", TLS: true, New: newAES},
		{Name: "present over TLS", TLS: true, New: newPresent},
		{Name: "tlspsk", TLS: true, way: psk(tlspsk.TLS13)},
		{Name: "ace", TLS: true, way: openACE},
		{Name: "mqttauth", way: password(pake.Stretch{Skip: true}, authbroker.NoHop)},
		{Name: "mqttauth hop", way: password(pake.Stretch{Skip: true}, authbroker.HopAES)},
	}
}

func newAES(prefix string) (link.Scheme, error) {
	key, err := aesmsg.GenerateKey(prefix + "/#")
	if err != nil {
		return nil, err
	}
	return aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
}

func newPresent(prefix string) (link.Scheme, error) {
	key, err := present.GenerateKey(prefix + "/#")
	if err != nil {
		return nil, err
	}
	return present.New(present.Config{Keys: []present.Key{key}})
}
