package plug

import (
	"bytes"
	"path/filepath"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// v3Options returns options for s with a file store in dir.
func v3Options(t *testing.T, s *server, dir string, v *vault) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + s.tcp(t)).SetClientID("client-3").
		SetCleanSession(false).SetStore(mqtt.NewFileStore(dir)).SetOrderMatters(false)
	return V3(o, v)
}

func TestStoreAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	s := newServer(never)
	s.deaf = true
	v := newVault()
	client := mqtt.NewClient(v3Options(t, s, dir, v))
	settle(t, client.Connect())
	first := map[uint16]byte{}
	for _, qos := range []byte{1, 2} {
		client.Publish("home/safe", qos, true, secret)
		m := await(t, s.published)
		require.Equal(t, secret, string(m.Payload), "the message on the wire was not left alone")
		require.False(t, m.Dup)
		first[m.ID] = m.QoS
	}
	client.Disconnect(0)
	requireSecret(t, files(t, dir, "o.*.msg"), 2)

	s = newServer(always)
	s.present = true
	client = mqtt.NewClient(v3Options(t, s, dir, v))
	settle(t, client.Connect())
	for range 2 {
		m := await(t, s.published)
		require.Equal(t, secret, string(m.Payload))
		require.Equal(t, "home/safe", string(m.Topic))
		require.True(t, m.Dup)
		require.True(t, m.Retain)
		require.Equal(t, first[m.ID], m.QoS)
		delete(first, m.ID)
	}
	require.Empty(t, first)
	awaitFiles(t, dir, "*", 0)
	client.Disconnect(0)
	require.Contains(t, v.noted(), "thaw client-3 v4 out=true")
}

func TestTamperedStoreIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	s := newServer(never)
	v := newVault()
	client := mqtt.NewClient(v3Options(t, s, dir, v))
	settle(t, client.Connect())
	client.Publish("home/safe", 1, false, secret)
	victim := await(t, s.published)
	client.Publish("home/safe", 1, false, secret)
	other := await(t, s.published)
	client.Disconnect(0)
	name := filepath.Join(dir, "o.1.msg")
	require.EqualValues(t, 1, victim.ID)
	flip(t, name)

	s = newServer(always)
	s.present = true
	o := v3Options(t, s, dir, v)
	o.ConnectRetry = true // reads the store before it connects, too
	client = mqtt.NewClient(o)
	settle(t, client.Connect())
	require.Equal(t, other.ID, await(t, s.published).ID)
	settle(t, client.Publish("home/safe", 1, false, "next"))
	require.Equal(t, "next", string(await(t, s.published).Payload))
	require.Empty(t, s.published)
	client.Disconnect(0)
	require.Len(t, s.connects, 1)
}

func TestStoreOfWhatWasReceived(t *testing.T) {
	dir := t.TempDir()
	s := newServer(never)
	s.reply = &wire.PublishPacket{QoS: 2, ID: 9, Topic: []byte("home/safe"), Payload: []byte(secret)}
	v := newVault()
	o := v3Options(t, s, dir, v)
	received := make(chan string, 1)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { received <- string(m.Payload()) })
	client := mqtt.NewClient(o)
	settle(t, client.Connect()) // while it connects, the client discards what it had received
	settle(t, client.Publish("t", 0, false, ""))
	require.Equal(t, secret, await(t, received))
	requireSecret(t, files(t, dir, "i.9.msg"), 1)
	client.Disconnect(0)
	require.Contains(t, v.noted(), "freeze client-3 v4 out=false")
}

func TestStorePutAndGet(t *testing.T) {
	below := mqtt.NewMemoryStore()
	store := V3(mqtt.NewClientOptions().SetStore(below), newVault()).Store
	store.Open()
	pub := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	pub.TopicName, pub.Qos, pub.MessageID, pub.Payload, pub.Dup = "home/x", 1, 7, []byte(secret), true
	before := *pub
	store.Put("o.7", pub)
	require.Equal(t, before, *pub, "the client's packet was edited")
	require.NotContains(t, string(below.Get("o.7").(*packets.PublishPacket).Payload), secret)
	got := store.Get("o.7").(*packets.PublishPacket)
	got.RemainingLength = before.RemainingLength
	require.Equal(t, before, *got)
	require.Equal(t, []string{"o.7"}, store.All())

	below.Put("i.7", below.Get("o.7"))
	require.Nil(t, store.Get("i.7"), "a packet of one direction opens as one of the other")
	require.Nil(t, store.Get("o.8"))

	rel := packets.NewControlPacket(packets.Pubrel)
	store.Put("o.7", rel)
	require.Same(t, rel, store.Get("o.7"))

	pub.Payload = bytes.Clone(tooLarge)
	store.Put("o.9", pub)
	require.Nil(t, below.Get("o.9"), "what cannot be frozen was stored")

	pub.TopicName, pub.Payload = "garden", nil
	store.Put("o.10", pub)
	require.Equal(t, "garden", below.Get("o.10").(*packets.PublishPacket).TopicName)
	require.Empty(t, store.Get("o.10").(*packets.PublishPacket).Payload)
}

func TestWithoutStoreNothingIsDecoratedV3(t *testing.T) {
	require.Nil(t, V3(mqtt.NewClientOptions(), newVault()).Store)
	below := mqtt.NewMemoryStore()
	require.Same(t, below, V3(mqtt.NewClientOptions().SetStore(below), newSpy("a")).Store)
}
