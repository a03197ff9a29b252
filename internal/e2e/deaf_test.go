package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// deaf stands between a scheme and a client that is about to miss an acknowledgement: the scheme has seen it, and the
// connection is lost before the client has. This happens in every library, between its read buffer and its state.
type deaf struct {
	below  scheme
	misses *atomic.Int32 // how many acknowledgements are still to be missed
}

func (d deaf) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	conn, err := d.below.Conn(ctx, conn)
	if err != nil {
		return nil, err
	}
	return layer.New(conn, &deafFilter{d.misses}), nil
}

// alone is the part of deaf that plug stacks on what below has wrapped.
func (d deaf) alone() deaf { return deaf{plain{}, d.misses} }

func (d deaf) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(d.below.Wrap(cfg), d.alone())
}

func (d deaf) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(d.below.WrapV3(opts), d.alone())
}

type deafFilter struct{ misses *atomic.Int32 }

func (f *deafFilter) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

func (f *deafFilter) Incoming(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if t := p.Type(); (t == wire.Puback || t == wire.Pubrec) && f.misses.Add(-1) >= 0 {
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
					misses := new(atomic.Int32)
					misses.Store(2)
					deafened := s
					deafened.new = func(t testing.TB, cfg sealing) scheme { return deaf{s.new(t, cfg), misses} }
					publishOnce(t, deafened, s, d, x)
					require.Len(t, x.frames, 3, "nothing was sent again")
				})
			}
		}
	}
}
