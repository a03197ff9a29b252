package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// transcript is what the clients of a scenario sent, were sent and were told: the packets of each client by direction
// and type, whole and in order, and the messages that its application got. Packets of different types may overtake each
// other at every broker, and do so by chance.
type transcript map[string][]string

// note writes down b, or what identifies it if it is long.
func (s transcript) note(key string, b []byte) {
	text := fmt.Sprintf("%x", b)
	if len(b) > 1<<10 {
		text = fmt.Sprintf("%d bytes, SHA-256 %x", len(b), sha256.Sum256(b))
	}
	s[key] = append(s[key], text)
}

// recorded is a client that reaches the broker through a relay of its own, which takes down its packets.
type recorded struct {
	client
	name    string
	version wire.Version
	network *relay
}

// noteIn writes down what the client did, once it has disconnected.
func (r *recorded) noteIn(c *cell, s transcript) {
	c.t.Helper()
	r.network.mu.Lock()
	defer r.network.mu.Unlock()
	for direction, stream := range map[string][]byte{"to broker": r.network.toBroker.Bytes(), "to client": r.network.fromBroker.Bytes()} {
		require.NoError(c.t, eachPacket(stream, func(p wire.Packet) error {
			if t := p.Type(); t != wire.Pingreq && t != wire.Pingresp {
				if c.lacks.nextIdentifier {
					p = withoutIdentifier(c.t, p, direction == "to client", r.version)
				}
				s.note(fmt.Sprintf("%s, %s, %v", r.name, direction, t), p)
			}
			return nil
		}))
	}
	for _, m := range r.inbox().all() {
		s.note(r.name+", messages", fmt.Appendf(nil, "%s %q QoS %d retained %t %+v", m.topic, m.payload, m.qos, m.retain, properly(m.properties)))
	}
}

// withoutIdentifier is p with the same packet identifier as all, if it is one that the broker has chosen.
func withoutIdentifier(t testing.TB, p wire.Packet, toClient bool, v wire.Version) wire.Packet {
	t.Helper()
	var err error
	switch p.Type() {
	case wire.Publish:
		m, parsed := wire.ParsePublish(p, v)
		require.NoError(t, parsed)
		if toClient && m.QoS > 0 {
			m.ID = 1
			p, err = m.Append(nil, v)
		}
	case wire.Puback, wire.Pubrec, wire.Pubcomp, wire.Pubrel:
		m, parsed := wire.ParseAck(p, v)
		require.NoError(t, parsed)
		if toClient == (m.Type == wire.Pubrel) {
			m.ID = 1
			p, err = m.Append(nil, v)
		}
	}
	require.NoError(t, err)
	return p
}

// properly is what PUBLISH properties say, without the addresses at which they are.
func properly(p *paho.PublishProperties) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %x %v", p.ContentType, p.ResponseTopic, p.CorrelationData, p.User)
}

// mixture is a scenario of everything together. Run again under the same name, and with nothing left of the run before,
// its transcript is the same again.
type mixture struct {
	*cell
	name    string
	large   int // bytes of the largest payload
	clients []*recorded
	subs    []*recorded // that hear everything
	sent    int         // messages that each of them gets
}

// recorded connects a client of library d.
func (m *mixture) recorded(d driver, name string, o options) *recorded {
	m.t.Helper()
	r := &recorded{name: d.name + " " + name, version: wire.V311, network: newRelay(m.t, m.broker.URL(m.transport))}
	if d.v5 {
		r.version = wire.V5
	}
	m.clients = append(m.clients, r)
	o.id = m.name + "-" + d.name + "-" + name
	m.reconnect(r, d, o)
	return r
}

// reconnect connects r again, to the same session.
func (m *mixture) reconnect(r *recorded, d driver, o options) {
	m.t.Helper()
	if o.id == "" {
		o.id = m.name + "-" + strings.ReplaceAll(r.name, " ", "-")
	}
	o.url = r.network.url(m.broker.URL(m.transport))
	var err error
	r.client, err = m.connectWith(d, plain{}, o)
	require.NoError(m.t, err)
}

// publish sends a message and waits until it has arrived everywhere, with all that belongs to it.
func (m *mixture) publish(from *recorded, msg message) {
	m.t.Helper()
	require.NoError(m.t, from.publish(m.ctx, msg))
	m.sent++
	for _, sub := range m.subs {
		m.await(sub, m.sent)
	}
}

// await waits until r has got n messages in all and has finished every exchange, so that the next one finds the same
// identifiers free.
func (m *mixture) await(r *recorded, n int) {
	m.t.Helper()
	_, err := r.inbox().awaitCount(m.ctx, n)
	require.NoError(m.t, err, "%s: message %d", r.name, n)
	require.Eventually(m.t, func() bool {
		settled, err := r.network.settled(r.version)
		return err == nil && settled
	}, patience, pollInterval)
}

// leave disconnects r, and returns when the broker knows.
func (m *mixture) leave(r *recorded) {
	m.t.Helper()
	require.NoError(m.t, r.disconnect(m.ctx))
	require.Eventually(m.t, r.network.idle, patience, pollInterval)
}

func (m *mixture) topic(name string) string { return m.name + "/" + name }

// run plays the scenario with these libraries.
func (m *mixture) run(libraries []driver) transcript {
	for _, d := range libraries {
		sub := m.recorded(d, "subscriber", options{aliases: 4})
		require.NoError(m.t, sub.subscribe(m.ctx, m.topic("#"), m.qos(2)))
		m.subs = append(m.subs, sub)
	}
	for _, d := range libraries {
		m.traffic(d)
		if !m.lacks.promptRetained {
			m.retained(d)
		}
		m.lastWords(d)
		m.away(d)
	}
	s := make(transcript)
	for _, r := range m.clients {
		m.leave(r)
		r.noteIn(m.cell, s)
	}
	return s
}

// traffic is what one client publishes: every QoS, properties and aliases if its library has them, and much.
func (m *mixture) traffic(d driver) {
	pub := m.recorded(d, "publisher", options{aliases: 8})
	for i := range 9 {
		msg := message{topic: m.topic(fmt.Sprint(i % 2)), payload: fmt.Appendf(nil, "%s %d", marker, i), qos: m.qos(byte(i % 3))}
		if d.v5 {
			msg.properties = &paho.PublishProperties{
				ContentType: "text", ResponseTopic: "answer", CorrelationData: []byte{1, 2},
				User: paho.UserProperties{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}},
			}
		}
		m.publish(pub, msg)
	}
	m.publish(pub, message{topic: m.topic("empty"), qos: 1})
	m.publish(pub, message{topic: m.topic("large"), payload: bytes.Repeat([]byte("12345678"), m.large/8), qos: 1})
}

// retained keeps a message for those who come late, replaces it and clears it.
func (m *mixture) retained(d driver) {
	pub := m.recorded(d, "keeper", options{})
	topic := m.topic("kept/" + d.name)
	var late []*recorded
	for i, text := range []string{"first", "second", ""} {
		m.publish(pub, message{topic: topic, payload: []byte(text), qos: m.qos(byte(1 + i%2)), retain: true})
		for k, sub := range late {
			m.await(sub, i-k+1)
		}
		if text == "" {
			break // there is nothing for those who come now
		}
		late = append(late, m.recorded(d, fmt.Sprintf("late %d", i), options{}))
		require.NoError(m.t, late[i].subscribe(m.ctx, topic, 1))
		m.await(late[i], 1)
	}
}

// lastWords loses a client.
func (m *mixture) lastWords(d driver) {
	dying := m.recorded(d, "dying", options{will: &message{topic: m.topic("will"), payload: []byte("gone"), qos: 1}})
	m.sent++
	dying.network.refuse(true)
	dying.network.cut()
	for _, sub := range m.subs {
		m.await(sub, m.sent)
	}
}

// away leaves a session, lets messages wait in it, takes it up again and ends it.
func (m *mixture) away(d driver) {
	sleeper := m.recorded(d, "sleeper", options{persistent: true})
	require.NoError(m.t, sleeper.subscribe(m.ctx, m.topic("away/"+d.name), m.qos(2)))
	m.leave(sleeper)
	pub := m.recorded(d, "waker", options{})
	const messages = 4
	for i := range messages {
		msg := message{topic: m.topic("away/" + d.name), payload: fmt.Append(nil, i), qos: m.qos(byte(1 + i%2))}
		m.publish(pub, msg)
	}
	m.reconnect(sleeper, d, options{persistent: true})
	m.await(sleeper, messages)
	m.leave(sleeper)
	m.reconnect(sleeper, d, options{})
}

// requireSameBehind plays the scenario at a broker and through a gateway before it, and wants every packet and every
// message to be the same.
func requireSameBehind(t *testing.T, broker brokers.Broker, gateway *brokers.Gateway, l lacks, large int) {
	libraries := []driver{drivers()[0], drivers()[2]} // one of each version
	if l.v5 {
		libraries = libraries[1:]
	}
	name := unique("mixture")
	play := func(at brokers.Broker) transcript {
		p := place{unsealed(), libraries[0], at, brokers.TCP, l}
		m := &mixture{cell: &cell{place: p, t: t, ctx: patientFor(t, long)}, name: name, large: large}
		return m.run(libraries)
	}
	direct := play(broker)
	behind := play(gateway)
	require.Greater(t, len(direct), 30, "little was written down")
	for key, want := range direct {
		require.Equal(t, want, behind[key], key)
	}
	require.Len(t, behind, len(direct))
}

// TestGatewayAddsNothing plays everything together at a broker and through a gateway before it: QoS 0 to 2, properties,
// topic aliases, retained messages, a Will, sessions that go on, 8 MiB, clients of both versions. What they send and
// what they are sent is the same, byte for byte.
func TestGatewayAddsNothing(t *testing.T) {
	const large, largestOfNATS = 8 << 20, 1 << 19
	t.Run("mosquitto", func(t *testing.T) {
		t.Parallel()
		broker := sharedMosquitto(t)
		requireSameBehind(t, broker, startGateway(t, broker), lacks{}, large)
	})
	for _, o := range others() {
		if !slices.Contains([]string{"rabbitmq", "nats"}, o.name) {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			cluster, err := o.start(patientFor(t, long))
			if errors.Is(err, brokers.ErrNotInstalled) && os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, cluster.Close()) })
			gateway := startGateway(t, node{cluster, 0})
			size := large
			if o.name == "nats" {
				size = largestOfNATS
			}
			requireSameBehind(t, node{cluster, 0}, gateway, o.lacks, size)
			requireUnsupported(t, gateway)
		})
	}
}

// requireUnsupported wants a gateway before a broker of MQTT 3.1.1 to tell a client of MQTT 5 so, in the words of that
// version.
func requireUnsupported(t *testing.T, gateway *brokers.Gateway) {
	conn, err := net.Dial("tcp", gateway.URL(brokers.TCP).Host)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	p, err := (&wire.ConnectPacket{Version: wire.V5, CleanStart: true, ClientID: []byte(unique("five"))}).Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(p)
	require.NoError(t, err)
	answer, err := wire.Read(conn, 1024)
	require.NoError(t, err)
	m, err := wire.ParseConnack(answer, wire.V5)
	require.NoError(t, err)
	require.Equal(t, wire.UnsupportedProtocolVersion, m.Code)
}
