package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// exchange is the plainest use of MQTT: some messages, which arrive unchanged and in order.
func exchange(c *cell, qos byte) {
	sub, pub := c.connect(options{}), c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("+"), qos))
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprintf("%s %d at QoS %d", marker, i, qos))
		require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("exchange"), payload: []byte(want[i]), qos: qos}))
	}
	got, err := sub.inbox().awaitCount(c.ctx, len(want))
	require.NoError(c.t, err)
	require.Equal(c.t, want, payloads(got))
	for _, m := range got {
		require.Equal(c.t, qos, m.qos)
		require.Equal(c.t, c.topic("exchange"), m.topic)
	}
}

// retained publishes messages that wait for subscribers, replaces one, and clears it.
func retained(c *cell) {
	const first, second = marker + " first", marker + " second"
	topic := c.topic("retained")
	if c.lacks.promptRetained {
		retainedLater(c, topic, first, second)
		return
	}
	pub, sub := c.connect(options{}), c.connect(options{})
	c.retain(pub, topic, first)

	for again := range 3 { // each subscription repeats it
		c.subscribeRetained(sub, topic)
		got, err := sub.inbox().awaitCount(c.ctx, again+1)
		require.NoError(c.t, err)
		require.Equal(c.t, first, string(got[again].payload))
		require.True(c.t, got[again].retain)
	}
	c.retain(pub, topic, second)
	_, err := sub.inbox().awaitPayload(c.ctx, second)
	require.NoError(c.t, err)
	c.requireRetained(topic, second)
	c.retain(pub, topic, "")
	later := c.connect(options{})
	c.subscribeRetained(later, topic)
	require.Equal(c.t, []string{marker + " last"}, untilLast(c, pub, later, 1))
}

// retain publishes a retained message and returns when the broker has passed it on, and taken the next. Some
// acknowledge first: who subscribes meanwhile gets it twice, once retained and once as it passes.
func (c *cell) retain(pub client, topic, text string) {
	c.t.Helper()
	require.NoError(c.t, pub.publish(c.ctx, message{topic: topic, payload: []byte(text), qos: 1, retain: true}))
	require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("next"), payload: []byte(marker + " next"), qos: 1}))
}

// retainedLater is the same where a message may be retained some time after it is acknowledged.
func retainedLater(c *cell, topic, first, second string) {
	pub := c.connect(options{})
	for _, text := range []string{first, second} {
		require.NoError(c.t, pub.publish(c.ctx, message{topic: topic, payload: []byte(text), qos: 1, retain: true}))
		c.requireRetained(topic, text)
	}
	require.NoError(c.t, pub.publish(c.ctx, message{topic: topic, qos: 1, retain: true}))
	cleared := func() bool {
		late := c.connect(options{})
		defer func() { _ = late.disconnect(c.ctx) }()
		c.subscribeRetained(late, topic)
		return len(untilLast(c, pub, late, 1)) == 1
	}
	for !cleared() {
		require.NoError(c.t, c.ctx.Err())
	}
}

// requireRetained wants a new subscriber to get what is retained on topic: text. The first one, if the broker has no
// excuse.
func (c *cell) requireRetained(topic, text string) {
	c.t.Helper()
	wait := 500 * time.Millisecond // and longer each time
	try := func() (message, error) {
		late := c.connect(options{})
		defer func() { _ = late.disconnect(c.ctx) }()
		c.subscribeRetained(late, topic)
		ctx := c.ctx
		if c.lacks.promptRetained {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, wait)
			defer cancel()
			wait *= 2
		}
		got, err := late.inbox().awaitCount(ctx, 1)
		if err != nil {
			return message{}, err
		}
		return got[0], nil
	}
	for {
		got, err := try()
		if err == nil && got.retain && string(got.payload) == text {
			return
		}
		if !c.lacks.promptRetained || c.ctx.Err() != nil {
			require.NoError(c.t, err)
			require.True(c.t, got.retain)
			require.Equal(c.t, text, string(got.payload))
		}
	}
}

// subscribeRetained subscribes so that the message retained on topic comes, and the last one.
func (c *cell) subscribeRetained(cli client, topic string) {
	c.t.Helper()
	filters := []string{c.topic("#")}
	if c.lacks.wildcardRetained {
		filters = []string{topic, c.topic("last")}
	}
	for _, filter := range filters {
		require.NoError(c.t, cli.subscribe(c.ctx, filter, 1))
	}
}

// untilLast publishes a last message and returns what sub has got when that arrives.
func untilLast(c *cell, pub, sub client, qos byte) []string {
	c.t.Helper()
	const last = marker + " last"
	require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("last"), payload: []byte(last), qos: qos}))
	got, err := sub.inbox().awaitPayload(c.ctx, last)
	require.NoError(c.t, err)
	return payloads(got)
}

// properties sends along what MQTT v5 has for the application (MQTT5 section 3.3.2.3).
func properties(c *cell) {
	if !c.driver.v5 {
		c.eavesdropOnSomething()
		return
	}
	sub, pub := c.connect(options{}), c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 1))
	sent := &paho.PublishProperties{
		PayloadFormat:   paho.Byte(1),
		ContentType:     marker + "/type",
		ResponseTopic:   marker + "/answer",
		CorrelationData: []byte(marker + " data"),
		User:            paho.UserProperties{{Key: marker, Value: "a"}, {Key: marker, Value: "b"}},
		MessageExpiry:   paho.Uint32(sessionExpiry),
	}
	m := message{topic: c.topic("properties"), payload: []byte(marker), qos: 1, properties: sent}
	require.NoError(c.t, pub.publish(c.ctx, m))
	got, err := sub.inbox().awaitCount(c.ctx, 1)
	require.NoError(c.t, err)
	received := got[0].properties
	require.Equal(c.t, sent.PayloadFormat, received.PayloadFormat)
	require.Equal(c.t, sent.ContentType, received.ContentType)
	require.Equal(c.t, sent.ResponseTopic, received.ResponseTopic)
	require.Equal(c.t, sent.CorrelationData, received.CorrelationData)
	require.Equal(c.t, sent.User, received.User)
	require.NotNil(c.t, received.MessageExpiry) // outside, where the broker counts it down
}

// will loses a client, whose last words reach those who are there and those who come later.
func will(c *cell) {
	const words = marker + " last words"
	network := newRelay(c.t, c.broker.URL(c.transport))
	sub := c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 1))
	c.connect(options{
		url:  network.url(c.broker.URL(c.transport)),
		will: &message{topic: c.topic("will"), payload: []byte(words), qos: 1, retain: true},
	})
	network.refuse(true)
	network.cut()
	got, err := sub.inbox().awaitCount(c.ctx, 1)
	require.NoError(c.t, err)
	require.Equal(c.t, words, string(got[0].payload))

	c.requireRetained(c.topic("will"), words)
}

// resend loses the broker's acknowledgement together with the connection. The library sends the message again, and at
// QoS 1 no broker knows that it has had it before.
func resend(c *cell, qos byte) {
	const text = marker + " again"
	network := newRelay(c.t, c.broker.URL(c.transport))
	sub := c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), qos))
	pub := c.connect(options{url: network.url(c.broker.URL(c.transport)), persistent: true, still: true})

	network.hold(true)
	done := make(chan error, 1)
	go func() { done <- pub.publish(c.ctx, message{topic: c.topic("resend"), payload: []byte(text), qos: qos}) }()
	require.NoError(c.t, network.awaitAnswer(c.ctx))
	network.cut()
	network.hold(false)
	err := <-done
	if inUse := refusedError(0x91); c.broker.Name() == "mochi" && errors.Is(err, inUse) {
		err = nil // this is how mochi says that it knows the packet identifier of a QoS 2 message: it has the message
	}
	require.NoError(c.t, err)

	// The library may say that a message is published before it has sent it again: paho.mqtt.golang completes the token
	// of the first attempt when it makes one for the second (claimID), and what is published then can overtake that. At
	// QoS 1 the eavesdropper has it twice when the broker has; at QoS 2 the broker may have it from either attempt.
	if qos == 2 {
		_, err := sub.inbox().awaitPayload(c.ctx, text)
		require.NoError(c.t, err)
	} else {
		topic := c.topic("resend")
		_, err := c.eavesdropper.inbox().await(c.ctx, func(heard []message) bool {
			return len(slices.DeleteFunc(slices.Clone(heard), func(m message) bool { return m.topic != topic })) >= 2
		})
		require.NoError(c.t, err, "the message was not resent, so nothing is proved")
	}
	times := countText(untilLast(c, pub, sub, qos), text)
	switch {
	case c.suite.sealed:
		require.Equal(c.t, 1, times)
	case qos == 1:
		require.Equal(c.t, 2, times)
	default: // mochi delivers a QoS 2 message again if the PUBREL that it asked for overtakes the resent PUBLISH
		require.GreaterOrEqual(c.t, times, 1)
	}
}

func countText(texts []string, text string) int {
	n := 0
	for _, s := range texts {
		if s == text {
			n++
		}
	}
	return n
}

// persistentSession receives what was published while it was away.
func persistentSession(c *cell) {
	id := unique("persistent")
	sub, pub := c.connect(options{id: id, persistent: true}), c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), c.qos(2)))
	require.NoError(c.t, sub.disconnect(c.ctx))
	var want []string
	for i := range 6 {
		qos := c.qos(byte(1 + i%2))
		want = append(want, fmt.Sprintf("%s %d while away, at QoS %d", marker, i, qos))
		require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("away"), payload: []byte(want[i]), qos: qos}))
	}
	sub = c.connect(options{id: id, persistent: true})
	got, err := sub.inbox().awaitCount(c.ctx, len(want))
	require.NoError(c.t, err)
	require.ElementsMatch(c.t, want, payloads(got))
}

// sharedSubscription gives one subscription to two clients, who get each message once between them (MQTT5
// section 4.8.2).
func sharedSubscription(c *cell) {
	if c.lacks.shared {
		c.eavesdropOnSomething()
		return
	}
	const messages = 24
	subs, pub := []client{c.connect(options{}), c.connect(options{})}, c.connect(options{})
	for _, sub := range subs {
		require.NoError(c.t, sub.subscribe(c.ctx, "$share/group/"+c.topic("#"), 1))
	}
	var want []string
	for i := range messages {
		want = append(want, fmt.Sprintf("%s %d shared", marker, i))
		require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("shared"), payload: []byte(want[i]), qos: 1}))
	}
	got := func() []string { return append(payloads(subs[0].inbox().all()), payloads(subs[1].inbox().all())...) }
	require.Eventually(c.t, func() bool { return len(got()) >= messages }, patience, pollInterval)
	require.ElementsMatch(c.t, want, got())
	for _, sub := range subs {
		require.NotEmpty(c.t, sub.inbox().all(), "the subscription was not shared, so nothing is proved")
	}
}

// topicAliases lets the client, and the broker if it can, name topics by number (MQTT5 section 3.3.2.3.4).
func topicAliases(c *cell) {
	if !c.driver.v5 {
		c.eavesdropOnSomething()
		return
	}
	sub, pub := c.connect(options{aliases: 4}), c.connect(options{aliases: 4})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 1))
	want := make(map[string]string) // topic by payload
	for i := range 9 {
		topic, text := c.topic(fmt.Sprint(i%3)), fmt.Sprintf("%s %d", marker, i)
		want[text] = topic
		require.NoError(c.t, pub.publish(c.ctx, message{topic: topic, payload: []byte(text), qos: byte(i % 2)}))
	}
	got, err := sub.inbox().awaitCount(c.ctx, len(want))
	require.NoError(c.t, err)
	aliased := 0
	for _, m := range got {
		require.Equal(c.t, want[string(m.payload)], m.topic)
		delete(want, string(m.payload))
		if m.properties.TopicAlias != nil {
			aliased++
		}
	}
	require.Empty(c.t, want)
	if c.broker.Name() == "mochi" && !c.suite.sealed {
		require.Equal(c.t, 9, aliased, "the broker used no aliases, so nothing is proved")
	}
}

// eavesdropOnSomething gives the eavesdropper of a feature that the library does not have something to hear. A cluster
// of NATS may acknowledge a subscription a moment before the messages of QoS 1 come with it.
func (c *cell) eavesdropOnSomething() {
	pub := c.connect(options{})
	for heard := false; !heard; {
		require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("x"), payload: []byte(marker), qos: 1}))
		ctx, cancel := context.WithTimeout(c.ctx, 500*time.Millisecond)
		_, err := c.eavesdropper.inbox().awaitCount(ctx, 1)
		cancel()
		heard = err == nil
		require.NoError(c.t, c.ctx.Err())
	}
}

// queueAcrossRestart leaves messages to the library's store while there is no connection, ends the program, and lets
// the next run deliver them. Until then nobody can read them on the disk.
func queueAcrossRestart(c *cell) {
	network := newRelay(c.t, c.broker.URL(c.transport))
	network.refuse(true)
	o := options{
		id:         unique("queue"),
		url:        network.url(c.broker.URL(c.transport)),
		persistent: true,
		offline:    true,
		dir:        filepath.Join(tempDir(c.t), "store"),
	}
	pub, err := c.tryConnect(o)
	if errors.Is(err, errCannotEnqueue) {
		c.eavesdropOnSomething()
		return
	}
	require.NoError(c.t, err)
	sub := c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 2))
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprintf("%s %d on disk", marker, i))
		m := message{topic: c.topic("queue"), payload: []byte(want[i]), qos: byte(1 + i%2)}
		require.NoError(c.t, pub.enqueue(c.ctx, m))
	}
	c.requireNothingReadable(o.dir)
	require.NoError(c.t, pub.disconnect(c.ctx))
	c.requireNothingReadable(o.dir)

	o.url = nil // past the network that was down: the last attempt of paho.mqtt.golang may outlast its Disconnect
	c.connect(o)
	got, err := sub.inbox().awaitCount(c.ctx, len(want))
	require.NoError(c.t, err)
	require.ElementsMatch(c.t, want, payloads(got))
}

// sessionAcrossRestart ends the program while its messages are not acknowledged. The next run sends them again from
// the library's store, which nobody can read.
func sessionAcrossRestart(c *cell) {
	network := newRelay(c.t, c.broker.URL(c.transport))
	o := options{
		id:         unique("session"),
		url:        network.url(c.broker.URL(c.transport)),
		persistent: true,
		dir:        filepath.Join(tempDir(c.t), "store"),
	}
	pub, err := c.tryConnect(o)
	if errors.Is(err, errCannotEnqueue) {
		c.eavesdropOnSomething()
		return
	}
	require.NoError(c.t, err)
	sub := c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 2))

	network.hold(true)
	want := []string{marker + " at QoS 1", marker + " at QoS 2"}
	interrupted, interrupt := context.WithCancel(c.ctx)
	var publishing sync.WaitGroup
	for i, text := range want {
		publishing.Go(func() { // returns when interrupted, or when the client ends
			_ = pub.publish(interrupted, message{topic: c.topic("session"), payload: []byte(text), qos: byte(1 + i)})
		})
	}
	_, err = sub.inbox().await(c.ctx, func(got []message) bool { // what has arrived was stored before
		return count(got, want[0]) > 0
	})
	require.NoError(c.t, err)
	require.Eventually(c.t, func() bool { return storedFiles(c.t, o.dir) >= len(want) }, patience, pollInterval)
	c.requireNothingReadable(o.dir)
	network.refuse(true)
	network.cut()
	interrupt()
	require.NoError(c.t, pub.disconnect(c.ctx))
	publishing.Wait()
	c.requireNothingReadable(o.dir)

	o.url = nil // as above
	pub = c.connect(o)
	_, err = sub.inbox().awaitPayload(c.ctx, want[1])
	require.NoError(c.t, err)
	got := untilLast(c, pub, sub, 2)
	for _, text := range want {
		require.GreaterOrEqual(c.t, countText(got, text), 1)
		if c.suite.sealed {
			require.Equal(c.t, 1, countText(got, text), text)
		}
	}
}

// eightMebibytes sends one large message, or the largest that the suite can seal.
func eightMebibytes(c *cell) {
	payload := bytes.Repeat([]byte(marker+" & "), 8<<20/len(marker+" & "))
	if largest := c.suite.largest; largest > 0 {
		payload = payload[:min(largest, len(payload))]
	}
	u := c.broker.URL(c.transport)
	if b, ok := c.broker.(*brokers.Mosquitto); ok && (c.transport == brokers.WS || c.transport == brokers.WSS) {
		bridge, err := brokers.NewBridge(b, c.transport)
		require.NoError(c.t, err)
		c.t.Cleanup(func() { require.NoError(c.t, bridge.Close()) })
		u = bridge.URL()
	}
	sub, pub := c.connect(options{url: u}), c.connect(options{url: u})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 1))
	require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("large"), payload: payload, qos: 1}))
	got, err := sub.inbox().awaitCount(c.ctx, 1)
	require.NoError(c.t, err)
	require.True(c.t, bytes.Equal(payload, got[0].payload))
}

// eightPublishers share one client.
func eightPublishers(c *cell) {
	const publishers, each = 8, 30
	sub, pub := c.connect(options{}), c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), c.qos(2)))
	var want []string
	errs := make(chan error, publishers)
	for p := range publishers {
		for i := range each {
			want = append(want, fmt.Sprintf("%s %d of %d", marker, i, p))
		}
		texts := want[len(want)-each:]
		go func() {
			var failed []error
			for i, text := range texts {
				m := message{topic: c.topic(fmt.Sprint(p)), payload: []byte(text)} // QoS 0 does not wait, and meets the others
				if i%10 == 0 {
					m.qos = c.qos(byte(1 + i/10%2))
				}
				failed = append(failed, pub.publish(c.ctx, m))
			}
			errs <- errors.Join(failed...)
		}()
	}
	for range publishers {
		require.NoError(c.t, <-errs)
	}
	got, err := sub.inbox().awaitCount(c.ctx, len(want))
	require.NoError(c.t, err)
	require.ElementsMatch(c.t, want, payloads(got))
}
