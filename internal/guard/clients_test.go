package guard

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// refused is what a CONNECT was not admitted for.
func refused(t *testing.T, r *rig) byte {
	t.Helper()
	synctest.Wait()
	var refusal *Refusal
	require.ErrorAs(t, r.err, &refusal)
	return refusal.Code
}

// persistent asks for an MQTT session of an hour.
func persistent(v wire.Version, id string) wire.ConnectPacket {
	m := connectPacket(v, id)
	m.CleanStart = false
	if v == wire.V5 {
		m.Properties = m.Properties.AppendUint(wire.SessionExpiryInterval, 3600)
	}
	return m
}

// TestTakeover: the same identity takes its session over, and the old connection hears 0x8E.
func TestTakeover(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		old := open(t, g, connectPacket(v, "c"), granted(t, "alice"))
		young := open(t, g, connectPacket(v, "c"), granted(t, "alice"))
		old.disconnected(wire.SessionTakenOver, ErrTakenOver)
		young.client.quiet()
		require.EqualValues(t, 1, g.Counters().TakenOver)
		require.EqualValues(t, 1, g.Counters().Active)
		require.Same(t, young.session, g.clients.byID["c"].session)
	})
}

// TestTakeoverByAStranger: a valid grant of somebody else is of no use against a Client Identifier, connected or not
// (attacks.md 6).
func TestTakeoverByAStranger(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, log := guarded(t, Config{})
		alice := open(t, g, persistent(v, "c"), granted(t, "alice"))
		require.Equal(t, wire.ClientIdentifierNotValid, refused(t, dial(t, g, connectPacket(v, "c"), granted(t, "mallory"), nil)))
		require.Equal(t, wire.ClientIdentifierNotValid, refused(t, dial(t, g, connectPacket(v, "c"), Grant{}, nil)))
		alice.client.quiet()
		alice.client.conn.Close()
		synctest.Wait()
		require.Equal(t, wire.ClientIdentifierNotValid, refused(t, dial(t, g, connectPacket(v, "c"), granted(t, "mallory"), nil)))
		time.Sleep(time.Hour)
		mallory := dial(t, g, connectPacket(v, "c"), granted(t, "mallory"), nil)
		if v == wire.V5 {
			require.NoError(t, mallory.err, "the MQTT session is over")
		} else {
			require.Error(t, mallory.err, "a session of 3.1.1 does not end by itself")
		}
		require.Contains(t, log.String(), "belongs to another identity")
		require.Equal(t, byte(2), ReturnCode(wire.ClientIdentifierNotValid))
	})
}

// TestNobodyGivesWay: a client without an identity holds no Client Identifier against one that has one.
func TestNobodyGivesWay(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		squatter := open(t, g, persistent(v, "c"), Grant{})
		alice := open(t, g, connectPacket(v, "c"), granted(t, "alice"))
		squatter.disconnected(wire.SessionTakenOver, ErrTakenOver)
		alice.client.conn.Close()
		synctest.Wait()
		one := open(t, g, persistent(v, "c"), Grant{})
		open(t, g, persistent(v, "c"), Grant{})
		one.disconnected(wire.SessionTakenOver, ErrTakenOver)
	})
}

// TestNobodyHasNoSession: without an identity every session begins anew and ends with its connection, and v5 says so.
func TestNobodyHasNoSession(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, persistent(v, "c"), Grant{}, nil)
		m, err := wire.ParseConnect(r.broker.next())
		require.NoError(t, err)
		require.True(t, m.CleanStart)
		_, asked := m.Properties.Find(wire.SessionExpiryInterval)
		require.False(t, asked)
		connack := r.accept(wire.ConnackPacket{})
		seconds, told := connack.Properties.Uint(wire.SessionExpiryInterval)
		require.Equal(t, v == wire.V5, told)
		require.Zero(t, seconds)
		r.client.conn.Close()
		synctest.Wait()
		require.Empty(t, g.clients.byID)
	})
}

// TestSessionThatIsNotCovered is E-5: an MQTT session goes on if the new grant covers its subscriptions, and begins
// anew if not.
func TestSessionThatIsNotCovered(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := open(t, g, persistent(v, "c"), granted(t, "alice", sub("a"), sub("b")))
		r.fromClient(r.subscribe(1, "a", "b"))
		r.broker.next()
		r.fromBroker(r.suback(1, 1, 1))
		r.codes()
		r.client.conn.Close()
		synctest.Wait()

		r = dial(t, g, persistent(v, "c"), granted(t, "alice", sub("#")), nil)
		m, err := wire.ParseConnect(r.broker.next())
		require.NoError(t, err)
		require.False(t, m.CleanStart)
		r.accept(wire.ConnackPacket{SessionPresent: true})
		require.ErrorIs(t, r.session.Renew(granted(t, "alice", sub("a"))), ErrNotAuthorized, "the subscriptions are known still")
		time.Sleep(3 * time.Second)

		r = dial(t, g, persistent(v, "c"), granted(t, "alice", sub("a")), nil)
		m, err = wire.ParseConnect(r.broker.next())
		require.NoError(t, err)
		require.True(t, m.CleanStart)
	})
}

// TestBrokerRefuses: a CONNACK of failure leaves the Client Identifier with whom it was.
func TestBrokerRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		no := wire.ConnackPacket{Code: 0x88}
		if v != wire.V5 {
			no.Code = 3
		}
		for _, before := range []bool{false, true} {
			id := fmt.Sprint(before)
			if before {
				r := open(t, g, persistent(v, id), granted(t, "alice"))
				r.client.conn.Close()
				synctest.Wait()
			}
			r := dial(t, g, persistent(v, id), granted(t, "alice"), nil)
			r.broker.next()
			r.accept(no)
			r.conn.Close()
			synctest.Wait()
			r = dial(t, g, persistent(v, id), granted(t, "mallory"), nil)
			require.Equal(t, before, r.err != nil)
		}
	})
}

// TestAssignedClientIdentifier belongs to whom it was assigned.
func TestAssignedClientIdentifier(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, persistent(wire.V5, ""), granted(t, "alice"), nil)
		r.broker.next()
		r.accept(wire.ConnackPacket{Properties: wire.Properties{}.AppendBytes(wire.AssignedClientIdentifier, []byte("auto-1"))})
		require.Equal(t, wire.ClientIdentifierNotValid, refused(t, dial(t, g, connectPacket(wire.V5, "auto-1"), granted(t, "mallory"), nil)))
	})
}

// TestDisconnectEndsTheSession: DISCONNECT can change when the MQTT session ends.
func TestDisconnectEndsTheSession(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, persistent(wire.V5, "c"), granted(t, "alice"))
		p, err := (&wire.ReasonPacket{Type: wire.Disconnect, Properties: wire.Properties{}.AppendUint(wire.SessionExpiryInterval, 0)}).Append(nil, wire.V5)
		require.NoError(t, err)
		r.fromClient(p)
		r.broker.next()
		r.conn.Close()
		synctest.Wait()
		require.Empty(t, g.clients.byID)
	})
}

// TestClientsBounded: what is over makes room, what is not does not.
func TestClientsBounded(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{MaxClients: 2, MaxPerIdentity: 2})
		for i := range 2 {
			r := open(t, g, persistent(wire.V5, fmt.Sprint("c", i)), granted(t, "alice"))
			r.client.conn.Close()
			synctest.Wait()
		}
		require.Equal(t, wire.QuotaExceeded, refused(t, dial(t, g, connectPacket(wire.V5, "d"), granted(t, "bob"), nil)))
		open(t, g, persistent(wire.V5, "c0"), granted(t, "alice"))
		time.Sleep(time.Hour)
		r := dial(t, g, connectPacket(wire.V5, "d"), granted(t, "bob"), nil)
		require.NoError(t, r.err)
		require.Len(t, g.clients.byID, 2)
	})
}

// TestNobodyTakesAllPlaces: somebody with a valid grant who leaves session after session behind loses hold of her own,
// and shuts nobody out.
func TestNobodyTakesAllPlaces(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{MaxClients: 10, MaxPerIdentity: 3})
		for i := range 30 {
			r := open(t, g, persistent(v, fmt.Sprintf("mallory-%d", i)), granted(t, "mallory"))
			r.client.conn.Close()
			synctest.Wait()
		}
		require.Len(t, g.clients.byID, 3)
		require.Contains(t, g.clients.byID, "mallory-29")
		require.NotContains(t, g.clients.byID, "mallory-26", "the oldest go first")
		for i := range 3 {
			open(t, g, persistent(v, fmt.Sprintf("live-%d", i)), granted(t, "mallory"))
		}
		require.Equal(t, byte(wire.QuotaExceeded), refused(t, dial(t, g, persistent(v, "one-more"), granted(t, "mallory"), nil)))
		open(t, g, persistent(v, "alice"), granted(t, "alice"))
		require.Equal(t, 3, g.clients.owners["mallory"].count)
		require.Zero(t, g.clients.owners["mallory"].idle.Len())
	})
}
