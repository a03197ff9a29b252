package guard

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestExpiryCutsOff: at the moment of expiry, not at the next packet, the client hears why, and nothing is forwarded
// after.
func TestExpiryCutsOff(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, log := guarded(t, Config{})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", both("a")))
		time.Sleep(10*time.Minute - time.Millisecond)
		r.client.quiet()
		r.broker.quiet()
		time.Sleep(time.Millisecond)
		r.disconnected(0x87, ErrExpired)
		_, err := r.conn.Write(r.publish(wire.PublishPacket{Topic: []byte("a")}))
		require.ErrorIs(t, err, ErrExpired)
		require.EqualValues(t, 1, g.Counters().Expired)
		require.Zero(t, g.Counters().Active)
		require.Contains(t, log.String(), "permission expired")
	})
}

// clock is one whose timers do not run.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

// TestExpiryIsCheckedOnEveryPacket in both directions, whatever the timer does (E-2): PUBLISH, SUBSCRIBE and PINGREQ
// received, and PUBLISH sent.
func TestExpiryIsCheckedOnEveryPacket(t *testing.T) {
	for _, what := range []string{"publish", "subscribe", "pingreq", "delivery"} {
		onBoth(t, func(t *testing.T, v wire.Version) {
			late := &clock{time.Now()}
			g, _ := guarded(t, Config{Clock: late})
			r := open(t, g, connectPacket(v, "c"), granted(t, "alice", both("a")))
			late.now = late.now.Add(10 * time.Minute)
			switch what {
			case "publish":
				r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("a"), QoS: 1}))
			case "subscribe":
				r.fromClient(r.subscribe(1, "a"))
			case "pingreq":
				r.fromClient(wire.Packet{0xC0, 0})
			case "delivery":
				_, _ = r.conn.Write(r.publish(wire.PublishPacket{Topic: []byte("a")}))
			}
			r.disconnected(0x87, ErrExpired)
		})
	}
}

func TestExpiredBeforeConnect(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		grant := granted(t, "alice")
		time.Sleep(10 * time.Minute)
		r := dial(t, g, connectPacket(wire.V5, "c"), grant, nil)
		require.ErrorIs(t, r.err, ErrExpired)
		require.EqualValues(t, 1, g.Counters().Refused)
		require.Empty(t, g.clients.byID)
	})
}

// TestRenew: the new grant replaces the old one for both directions at once, and its time counts.
func TestRenew(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", both("a")))
		r.fromClient(r.subscribe(1, "a"))
		r.broker.next()
		r.fromBroker(r.suback(1, 1))
		r.codes()
		for range 10 {
			time.Sleep(9 * time.Minute)
			next := granted(t, "alice", both("a"), pub("b"))
			require.NoError(t, r.session.Renew(next))
			require.Equal(t, next, r.session.Grant())
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b")}))
			r.broker.next()
			r.fromBroker(r.publish(wire.PublishPacket{Topic: []byte("a")}))
			r.client.next()
		}
		require.EqualValues(t, 10, g.Counters().Renewed)
		time.Sleep(10 * time.Minute)
		r.disconnected(0x87, ErrExpired)
	})
}

// TestRenewNarrower: a subscription that the new grant does not cover ends the connection at once; what was
// permitted before is no more.
func TestRenewNarrower(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", both("a"), both("b")))
		for id, f := range []string{"a", "b"} {
			r.fromClient(r.subscribe(uint16(id+1), f))
			r.broker.next()
			r.fromBroker(r.suback(uint16(id+1), 1))
			r.codes()
		}
		p, err := (&wire.UnsubscribePacket{ID: 9, Filters: [][]byte{[]byte("b")}}).Append(nil, wire.V5)
		require.NoError(t, err)
		r.fromClient(p)
		r.broker.next()
		require.NoError(t, r.session.Renew(granted(t, "alice", sub("a"))))
		r.client.quiet()
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("a"), QoS: 1}))
		require.Equal(t, byte(0x87), r.ack().Reason)
		require.ErrorIs(t, r.session.Renew(granted(t, "alice", both("b"))), ErrNotAuthorized)
		r.disconnected(0x87, ErrNotAuthorized)
	})
}

func TestRenewRefused(t *testing.T) {
	for name, change := range map[string]struct {
		change func(*Grant)
		want   error
	}{
		"another identity": {func(g *Grant) { g.Identity = "mallory" }, ErrIdentity},
		"expired":          {func(g *Grant) { g.Expires = time.Now() }, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			onV5(t, func(t *testing.T) {
				g, _ := guarded(t, Config{})
				r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", both("a")))
				next := granted(t, "alice", both("a"))
				change.change(&next)
				require.ErrorIs(t, r.session.Renew(next), change.want)
				r.disconnected(0x87, change.want)
				require.ErrorIs(t, r.session.Renew(granted(t, "alice")), net.ErrClosed)
			})
		})
	}
}

// TestRevoke ends the connections of a handle and no other, and a renewal changes which handles are theirs.
func TestRevoke(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, log := guarded(t, Config{})
		alice := open(t, g, connectPacket(v, "c"), granted(t, "alice", both("a")))
		again := open(t, g, connectPacket(v, "d"), granted(t, "alice", both("a")))
		bob := open(t, g, connectPacket(v, "e"), granted(t, "bob", both("a")))
		next := granted(t, "alice", both("a"))
		next.Handles = []string{"another token"}
		require.NoError(t, again.session.Renew(next))

		require.Equal(t, 1, g.Revoke("token of alice"))
		alice.disconnected(0x87, ErrRevoked)
		again.client.quiet()
		bob.client.quiet()
		require.Zero(t, g.Revoke("token of alice"))
		require.Equal(t, 1, g.Revoke("another token"))
		again.disconnected(0x87, ErrRevoked)
		require.EqualValues(t, 2, g.Counters().Revoked)
		require.Contains(t, log.String(), "permission revoked")
		require.Len(t, g.handles.sessions, 1)
	})
}

// TestWillAuthorised is M-12: pub on the Will Topic is checked at CONNECT.
func TestWillAuthorised(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		for topic, allowed := range map[string]bool{"a": true, "b": false, "s": false} {
			connect := connectPacket(v, "c"+topic)
			connect.Will = &wire.Will{Topic: []byte(topic), Payload: []byte("gone")}
			r := dial(t, g, connect, granted(t, "alice", pub("a"), sub("s")), nil)
			if allowed {
				require.NoError(t, r.err)
				continue
			}
			var refusal *Refusal
			require.ErrorAs(t, r.err, &refusal)
			require.Equal(t, byte(0x87), refusal.Code)
			require.Equal(t, byte(5), ReturnCode(refusal.Code))
			require.ErrorIs(t, r.err, ErrNotAuthorized)
		}
	})
}

// TestWillOfATokenThatIsOver: a Will is published when its connection ends, which may be long after the grant that
// permitted it has gone. A grant without it ends the connection, and the broker is told to discard the Will.
func TestWillOfATokenThatIsOver(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		connect := connectPacket(v, "c")
		connect.Will = &wire.Will{Topic: []byte("a"), Payload: []byte("gone"), Retain: true}
		r := open(t, g, connect, granted(t, "alice", pub("a"), pub("b")))
		require.NoError(t, r.session.Renew(granted(t, "alice", pub("a"))))
		r.client.quiet()
		require.ErrorIs(t, r.session.Renew(granted(t, "alice", pub("b"))), ErrNotAuthorized)
		p := r.broker.next()
		require.Equal(t, wire.Disconnect, p.Type())
		m, err := wire.ParseReason(p, v)
		require.NoError(t, err)
		require.Equal(t, wire.Success, m.Reason, "which discards the Will")
		r.disconnected(0x87, ErrNotAuthorized)
		require.Empty(t, g.retained.topics, "and so it says nothing of the topic's retained message")
		require.Zero(t, g.retained.kept)
	})
}

// TestEnd: the first reason counts, and no goroutine, handle or identifier stays behind.
func TestEnd(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice"))
		require.True(t, r.session.End(wire.AdministrativeAction, ErrQuota))
		require.False(t, r.session.End(wire.NotAuthorized, ErrExpired))
		r.disconnected(0x98, ErrQuota)
		require.Empty(t, g.clients.byID)
		require.Empty(t, g.handles.sessions)
		require.Zero(t, g.Counters().Active)
		r.session.Closed() // again
		require.Zero(t, g.Counters().Active)
	})
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Config{MaxClients: -1})
	require.Error(t, err)
	require.Equal(t, byte(0), ReturnCode(0))
	require.Equal(t, byte(3), ReturnCode(wire.QuotaExceeded))
}

// TestRenewedForLess: a grant that ends sooner than the one before ends the connection then, though nothing is sent.
func TestRenewedForLess(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice"))
		shorter := granted(t, "alice")
		shorter.Expires = time.Now().Add(time.Minute)
		require.NoError(t, r.session.Renew(shorter))
		time.Sleep(time.Minute - time.Millisecond)
		r.client.quiet()
		time.Sleep(time.Millisecond)
		r.disconnected(0x87, ErrExpired)
	})
}

// TestLogSaysWhenAGrantEnds, and of one that does not end it says nothing.
func TestLogSaysWhenAGrantEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, log := guarded(t, Config{})
		open(t, g, connectPacket(v, "endless"), Grant{Identity: "alice"}).client.conn.Close()
		require.Contains(t, log.String(), "admitted")
		require.NotContains(t, log.String(), "expires=")
		grant := granted(t, "alice")
		open(t, g, connectPacket(v, "for a while"), grant).client.conn.Close()
		require.Contains(t, log.String(), "expires="+grant.Expires.Format("2006-01-02"))
		synctest.Wait()
	})
}
