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

// TestTakeoverWithSubscriptions: what a living session had goes over to the one that takes it over, if the grant covers
// it, and stays the identity's if the broker never hears of the new one.
func TestTakeoverWithSubscriptions(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		again := func(rules ...Rule) (r *rig, clean bool) {
			r = dial(t, g, persistent(v, "c"), granted(t, "alice", rules...), nil)
			m, err := wire.ParseConnect(r.broker.next())
			require.NoError(t, err)
			return r, m.CleanStart
		}
		old := open(t, g, persistent(v, "c"), granted(t, "alice", sub("#")))
		old.fromClient(old.subscribe(1, "a", "b"))
		old.broker.next()
		old.fromBroker(old.suback(1, 1, 1))
		old.codes()

		gone, clean := again(sub("#"))
		require.False(t, clean)
		gone.client.conn.Close() // before CONNACK
		time.Sleep(3 * time.Second)
		require.Equal(t, wire.ClientIdentifierNotValid, refused(t, dial(t, g, connectPacket(v, "c"), granted(t, "mallory"), nil)))

		young, clean := again(sub("#"))
		require.False(t, clean)
		young.accept(wire.ConnackPacket{SessionPresent: true})
		last, clean := again(sub("#"))
		require.False(t, clean)
		last.accept(wire.ConnackPacket{SessionPresent: true})
		require.ErrorIs(t, last.session.Renew(granted(t, "alice", sub("a"))), ErrNotAuthorized)
		_, clean = again(sub("a"))
		require.True(t, clean)
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

// TestAssignedTooLate: an identifier that comes when the connection is over stays with nobody.
func TestAssignedTooLate(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, ""), granted(t, "alice"))
		r.session.Closed()
		require.NoError(t, r.session.assigned("auto-1", time.Now()), "as if it had been under way")
		require.Empty(t, g.clients.byID)
		require.Empty(t, g.clients.owners)
	})
}

// TestAssignedMeanwhile: the log may name a client while the broker gives it its name. It is for the race detector.
func TestAssignedMeanwhile(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, connectPacket(wire.V5, ""), granted(t, "alice"), nil)
		r.broker.next()
		m := wire.ConnackPacket{Properties: wire.Properties{}.AppendBytes(wire.AssignedClientIdentifier, []byte("auto-1"))}
		connack, err := m.Append(nil, wire.V5)
		require.NoError(t, err)
		go r.client.conn.Write(r.subscribe(1, "not permitted"))
		r.fromBroker(connack)
		r.client.next()
		r.client.next()
		require.Equal(t, "auto-1", r.session.ClientID())
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

		r = dial(t, g, persistent(wire.V5, ""), granted(t, "mallory"), nil)
		r.broker.next()
		again, err := (&wire.ConnackPacket{Properties: wire.Properties{}.AppendBytes(wire.AssignedClientIdentifier, []byte("auto-1"))}).Append(nil, wire.V5)
		require.NoError(t, err)
		_, err = r.conn.Write(again)
		require.ErrorIs(t, err, errForeign, "a broker that assigns what is somebody's")
	})
}

// TestSessionAsTheBrokerHasIt: how long an MQTT session lasts, and whether there was one, is what CONNACK says.
func TestSessionAsTheBrokerHasIt(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		begin := func(m wire.ConnackPacket) *rig {
			r := dial(t, g, persistent(wire.V5, "c"), granted(t, "alice", sub("#")), nil)
			r.broker.next()
			require.Equal(t, m, r.accept(m), "of a client with an identity, CONNACK passes")
			return r
		}
		r := begin(wire.ConnackPacket{})
		r.fromClient(r.subscribe(1, "b"))
		r.broker.next()
		r.fromBroker(r.suback(1, 1))
		r.codes()
		r.client.conn.Close()
		synctest.Wait()

		r = begin(wire.ConnackPacket{Properties: wire.Properties{}.AppendUint(wire.SessionExpiryInterval, 10)})
		require.NoError(t, r.session.Renew(granted(t, "alice", sub("a"))), "there is no subscription any more")
		r.client.conn.Close()
		time.Sleep(9 * time.Second)
		require.Equal(t, wire.ClientIdentifierNotValid, refused(t, dial(t, g, connectPacket(wire.V5, "c"), granted(t, "mallory"), nil)))
		time.Sleep(time.Second)
		require.NoError(t, dial(t, g, connectPacket(wire.V5, "c"), granted(t, "mallory"), nil).err)
	})
}

// TestDisconnectCannotBeginASession: what ends with the connection by CONNECT does so whatever DISCONNECT says (MQTT 5,
// 3.14.2.2.2).
func TestDisconnectCannotBeginASession(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice"))
		p, err := (&wire.ReasonPacket{Type: wire.Disconnect, Properties: wire.Properties{}.AppendUint(wire.SessionExpiryInterval, 3600)}).Append(nil, wire.V5)
		require.NoError(t, err)
		r.fromClient(p)
		r.broker.next()
		r.client.conn.Close()
		synctest.Wait()
		require.Empty(t, g.clients.byID)
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
		require.True(t, r.session.Over())
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
		open(t, g, persistent(v, "mallory-29"), granted(t, "mallory")).client.conn.Close()
		synctest.Wait()
		require.Len(t, g.clients.byID, 3, "who comes back needs no other's place")
		for i := range 3 {
			open(t, g, persistent(v, fmt.Sprintf("live-%d", i)), granted(t, "mallory"))
		}
		require.Equal(t, byte(wire.QuotaExceeded), refused(t, dial(t, g, persistent(v, "one-more"), granted(t, "mallory"), nil)))
		open(t, g, persistent(v, "alice"), granted(t, "alice"))
		require.Equal(t, 3, g.clients.owners["mallory"].count)
		require.Zero(t, g.clients.owners["mallory"].idle.Len())
	})
}

// TestPlaceOfAnother: what was another's or nobody's counts as one's own as well, so that nobody has more than her part
// by first coming without an identity, or by waiting for the end of others' sessions.
func TestPlaceOfAnother(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{MaxClients: 10, MaxPerIdentity: 2})
		open(t, g, persistent(wire.V5, "over"), granted(t, "alice")).client.conn.Close()
		time.Sleep(time.Hour)
		nobody := open(t, g, connectPacket(wire.V5, "nobody's"), Grant{})
		take := func(id string) *rig { return dial(t, g, persistent(wire.V5, id), granted(t, "mallory"), nil) }
		one := open(t, g, persistent(wire.V5, "one"), granted(t, "mallory"))
		open(t, g, persistent(wire.V5, "two"), granted(t, "mallory"))
		for _, id := range []string{"over", "nobody's"} {
			require.Equal(t, wire.QuotaExceeded, refused(t, take(id)), id)
		}
		nobody.client.quiet()
		require.NoError(t, take("one").err, "her own")
		one.disconnected(wire.SessionTakenOver, ErrTakenOver)
		require.Equal(t, 2, g.clients.owners["mallory"].count)
	})
}
