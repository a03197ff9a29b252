package steady

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/stretchr/testify/require"
)

// TestPubrecOnALostConnection: one that comes too late has no effect, and the message is sent again on the next
// connection; one in time is answered.
func TestPubrecOnALostConnection(t *testing.T) {
	s := Session(state.NewInMemory())
	var wire bytes.Buffer
	connect := func(present bool) {
		wire.Reset()
		connect := &packets.Connect{ClientID: "c", CleanStart: !present, Properties: &packets.Properties{}}
		expiry := uint32(3600)
		connect.Properties.SessionExpiryInterval = &expiry
		require.NoError(t, s.ConAckReceived(&wire, connect, &packets.Connack{SessionPresent: present, Properties: &packets.Properties{}}))
	}
	sent := func() byte {
		p, err := packets.ReadPacket(&wire)
		require.NoError(t, err)
		return p.Type
	}
	connect(false)
	p := &packets.Publish{QoS: 2, Topic: "a", Properties: &packets.Properties{}}
	require.NoError(t, s.AddToSession(t.Context(), p, make(chan packets.ControlPacket, 1)))
	pubrec := packets.NewControlPacket(packets.PUBREC)
	pubrec.Content.(*packets.Pubrec).PacketID = p.PacketID

	require.NoError(t, s.ConnectionLost(nil))
	require.NoError(t, s.PacketReceived(pubrec, nil))
	connect(true)
	require.Equal(t, packets.PUBLISH, sent())
	require.NoError(t, s.PacketReceived(pubrec, nil))
	require.Equal(t, packets.PUBREL, sent())
}
