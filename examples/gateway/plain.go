package main

import (
	"context"
	"errors"
	"net"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// servePlain is a listener without a scheme: the broker itself decides who may do what.
func (g *gateway) servePlain(l *listener, cfg *listenerConfig, b *below) error {
	plain, err := layer.NewListener(b.Listener, layer.ListenerConfig{
		Secure:              b.secure,
		Filter:              func(_ context.Context, conn net.Conn) (layer.Filter, error) { return newPlain(conn, cfg.PSK) },
		Timeout:             g.cfg.Limits.ConnectTimeout.value,
		MaxPending:          g.cfg.Limits.Pending.value,
		MaxPendingPerSource: g.cfg.Limits.PendingPerAddress.value,
		Failed:              l.failed,
	})
	if err != nil {
		return err
	}
	l.served = plain
	l.reconfigure = func(_ *listenerConfig, limits *limitsConfig, _ *checker) error {
		return plain.SetLimits(limits.ConnectTimeout.value, limits.Pending.value, limits.PendingPerAddress.value)
	}
	return nil
}

// plain lets everything pass, and says who the client is, or who it must say that it is, if its key has told.
type plain struct {
	username, clientID string // "" for what the client says
}

func newPlain(conn net.Conn, psk *pskConfig) (*plain, error) {
	f := &plain{}
	if psk == nil {
		return f, nil
	}
	keyed, ok := keyOf(conn)
	if !ok {
		return nil, errors.New("no pre-shared key below the connection")
	}
	identity := keyed.ConnectionState().Identity
	if psk.Username.value {
		f.username = identity
	}
	if psk.ClientIdentifier.value == identityOnly {
		f.clientID = identity
	}
	return f, nil
}

// Outgoing is what the broker sends.
func (*plain) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

// Incoming puts the identity in the place of whatever User Name the client claims, and refuses another's Client
// Identifier.
func (f *plain) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if *f == (plain{}) || p.Type() != wire.Connect {
		return p, nil
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	if f.clientID != "" && string(m.ClientID) != f.clientID {
		return nil, c.End(errClientIdentifier, notIdentified(m.Version))
	}
	if f.username == "" {
		return p, nil
	}
	m.HasUsername, m.Username = true, []byte(f.username)
	return m.Append(nil)
}

// errClientIdentifier is the end of a client that says it is another one.
var errClientIdentifier = errors.New("the Client Identifier is not the identity of the pre-shared key")

// notIdentified is the CONNACK for a Client Identifier that is not the client's own.
func notIdentified(v wire.Version) wire.Packet {
	code := byte(wire.ClientIdentifierNotValid)
	if v != wire.V5 {
		code = wire.V3IdentifierRejected
	}
	p, err := (&wire.ConnackPacket{Code: code}).Append(nil, v)
	if err != nil {
		return nil
	}
	return p
}

// Closed has nothing to do.
func (*plain) Closed() {}
