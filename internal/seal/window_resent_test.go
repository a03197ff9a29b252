package seal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// outcome is what becomes of a message: delivered or refused.
func (e *end) outcome(m wire.PublishPacket) (wire.PublishPacket, error) {
	e.t.Helper()
	e.write(e.broker, e.packet(m))
	select {
	case p, ok := <-e.got:
		if !ok {
			require.NoError(e.t, e.ended)
		}
		return e.parse(p), nil
	case r := <-e.rejected:
		return wire.PublishPacket{}, r.Err
	}
}

// TestResentInAnyOrder has a client with many messages in flight lose its connection,
// publish at once on the next one, and then send the old ones again in the order of a
// hash table, beside what it publishes at QoS 0. All of them arrive, once. The receiver
// loses its own connection on the way.
func TestResentInAnyOrder(t *testing.T) {
	const inFlight, between = 3000, 2
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(fmt.Sprint("v", v), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(v), 1))
			alice, bob := connectedPair(t, v, Config{})
			reject, rejected := rejections()
			s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
			bob = client(t, s, rejected, v, nil, nil)

			frames := make([]wire.PublishPacket, inFlight)
			for i := range frames {
				m := message(1, "site/7", fmt.Sprint("message ", i))
				m.ID = uint16(i + 1)
				frames[i] = alice.publish(m)
				frames[i].Payload = bytes.Clone(frames[i].Payload)
				for j := range between { // lost with the connection, but counted
					alice.publish(message(0, fmt.Sprint("site/", 7+j), "temperature"))
				}
			}
			delivered := make([]int, inFlight)
			offer := func(i int) error {
				m, err := bob.outcome(frames[i])
				if err == nil {
					require.Equal(t, fmt.Sprint("message ", i), string(m.Payload))
					delivered[i]++
				}
				return err
			}
			ack := func(i int) {
				bob.write(bob.app, bob.ack(wire.Puback, frames[i].ID, 0))
				require.Equal(t, wire.Puback, bob.read(bob.broker).Type())
			}

			newest := alice.publish(message(1, "site/7", "connected"))
			newest.ID = inFlight + 1
			_, err := bob.outcome(newest)
			require.NoError(t, err)
			order := rng.Perm(inFlight)
			unacknowledged := order[inFlight/2:]
			for n, i := range order {
				require.NoError(t, offer(i), i)
				if n < inFlight/2 {
					ack(i)
				}
				if n%3 == 0 {
					_, err := bob.outcome(alice.publish(message(0, "site/7", "temperature")))
					require.NoError(t, err)
				}
			}
			for _, n := range delivered {
				require.Equal(t, 1, n)
			}

			bob.app.Close()
			bob = client(t, s, rejected, v, nil, nil)
			rng.Shuffle(len(unacknowledged), func(i, j int) {
				unacknowledged[i], unacknowledged[j] = unacknowledged[j], unacknowledged[i]
			})
			for _, i := range unacknowledged {
				require.NoError(t, offer(i), i)
				ack(i)
			}
			for i := range frames {
				require.ErrorIs(t, offer(i), replay.ErrDelivered)
				bob.read(bob.broker) // its acknowledgement
			}
			bob.quiet()
		})
	}
}
