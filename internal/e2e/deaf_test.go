package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// deaf stands between a scheme and a client that is about to miss a packet: the scheme has seen it, and the connection
// is lost before the client has. This happens in every library, between its read buffer and its state.
type deaf struct {
	below  scheme
	to     []wire.Type
	misses *atomic.Int32 // how many packets are still to be missed
}

// deafened is suite s with clients that together miss the first two packets of these types.
func deafened(s suite, to ...wire.Type) suite {
	misses, below := new(atomic.Int32), s.new
	misses.Store(2)
	s.new = func(t testing.TB, cfg sealing) scheme { return deaf{below(t, cfg), to, misses} }
	return s
}

func (d deaf) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	conn, err := d.below.Conn(ctx, conn)
	if err != nil {
		return nil, err
	}
	return layer.New(conn, &deafFilter{d.to, d.misses}), nil
}

// alone is the part of deaf that plug stacks on what below has wrapped.
func (d deaf) alone() deaf { return deaf{plain{}, d.to, d.misses} }

func (d deaf) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(d.below.Wrap(cfg), d.alone())
}

func (d deaf) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(d.below.WrapV3(opts), d.alone())
}

type deafFilter struct {
	to     []wire.Type
	misses *atomic.Int32
}

func (f *deafFilter) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

func (f *deafFilter) Incoming(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if slices.Contains(f.to, p.Type()) && f.misses.Add(-1) >= 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return p, nil
}

func (f *deafFilter) Closed() {}

// TestExactlyOnceMissedAcknowledgement loses acknowledgements between the scheme and the client. What the client sends
// again is still the same message.
func TestExactlyOnceMissedAcknowledgement(t *testing.T) {
	for _, s := range sealedSuites() {
		for _, d := range drivers() {
			for _, qos := range []byte{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/QoS%d", s.name, d.name, qos), func(t *testing.T) {
					t.Parallel()
					x := &publication{qos: qos, cuts: [2]int{never, never}}
					publishOnce(t, deafened(s, wire.Puback, wire.Pubrec), s, d, x)
					require.Len(t, x.frames, 3, "nothing was sent again")
				})
			}
		}
	}
}

// TestExactlyOnceMissedPublish loses messages between the scheme and the client. The scheme must not take the broker's
// redelivery for a replay: nobody has acknowledged them.
func TestExactlyOnceMissedPublish(t *testing.T) {
	for _, s := range sealedSuites() {
		for _, d := range drivers() {
			for _, qos := range []byte{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/QoS%d", s.name, d.name, qos), func(t *testing.T) {
					t.Parallel()
					x := &delivery{qos: qos, manner: proper, cuts: [2]int{never, never}}
					receiveOnce(t, deafened(s, wire.Publish), s, d, x)
				})
			}
		}
	}
}
