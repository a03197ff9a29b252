package sidechannel

import (
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// TestHandOverByTopic: device and owner are clients of one broker, which sees the exchange and cannot read the token.
func TestHandOverByTopic(t *testing.T) {
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	defer b.Close()
	connect := func(id string) mqtt.Client {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(b.URL(brokers.TCP).String()).SetClientID(id))
		wait(t, c.Connect())
		t.Cleanup(func() { c.Disconnect(0) })
		return c
	}
	owner, device := connect("handover-owner"), connect("handover-device")
	tok := testToken(t, "site/7")
	secret, err := tok.MarshalBinary()
	require.NoError(t, err)

	failed := make(chan error, 4)
	wait(t, owner.Subscribe("join/offer/+", 1, func(c mqtt.Client, m mqtt.Message) {
		sealed, err := Answer(m.Payload(), tok)
		if err != nil {
			failed <- err
			return
		}
		_, answers, err := Topics("join", m.Payload())
		if err != nil {
			failed <- err
			return
		}
		c.Publish(answers, 1, false, sealed)
	}))

	r, err := NewRecipient(time.Minute)
	require.NoError(t, err)
	offers, answers, err := Topics("join", r.Offer())
	require.NoError(t, err)
	arrived := make(chan []byte, 1)
	wait(t, device.Subscribe(answers, 1, func(_ mqtt.Client, m mqtt.Message) { arrived <- m.Payload() }))
	wait(t, device.Publish(offers, 1, false, r.Offer()))
	select {
	case sealed := <-arrived:
		require.False(t, strings.Contains(string(sealed), string(secret[len(secret)-32:])))
		read, err := r.Open(sealed)
		require.NoError(t, err)
		require.True(t, tok.Equal(read))
	case err := <-failed:
		t.Fatal(err)
	}
	_, _, err = Topics("join", nil)
	require.ErrorIs(t, err, ErrMalformed)
}

func wait(t *testing.T, tok mqtt.Token) {
	t.Helper()
	require.True(t, tok.WaitTimeout(30*time.Second))
	require.NoError(t, tok.Error())
}
