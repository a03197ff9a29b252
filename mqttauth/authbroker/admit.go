package authbroker

import (
	"errors"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
)

// admit lets the CONNECT of a client that has proved itself through to the broker. What it was granted before, and is
// still worth something, holds from the beginning: for its Will, and for the subscriptions of a session that goes on.
func (f *connection) admit(c *layer.Conn) error {
	m, err := wire.ParseConnect(f.packet)
	if err != nil {
		return err
	}
	user := f.run.User
	if allowed := f.settings.ClientIdentifier; allowed != nil && !allowed(user, f.clientID) {
		return f.refuse(c, wire.ClientIdentifierNotValid, errForeign)
	}
	f.expiry = guard.SessionExpiry(&m)
	if f.l.shared {
		if err := f.settings.registrar.bind(user, f.clientID, f.expiry); err != nil {
			return f.refuse(c, bound(err), err)
		}
	}
	err = f.l.store.view(func(t tx) error {
		f.mark = string(t.get(bucketMeta, endedPrefix+user))
		return nil
	})
	if err != nil {
		return f.refuse(c, wire.ServerUnavailable, err)
	}
	grant, grants, next, err := f.grant()
	if err != nil {
		return f.refuse(c, wire.ServerUnavailable, err)
	}
	session, err := f.l.guard.Admit(c, &m, grant, f.take)
	var refusal *guard.Refusal
	if errors.As(err, &refusal) && refusal.Code == wire.NotAuthorized {
		return f.hear(c, err)
	} else if errors.As(err, &refusal) {
		return f.refuse(c, refusal.Code, err)
	} else if err != nil {
		return err
	}
	p, err := f.settings.plain(&m, user)
	if err != nil {
		session.Closed()
		return f.refuse(c, wire.PacketTooLarge, err)
	}
	f.l.counters.welcomed.Add(1)
	f.enter(c, session, grants, next)
	return c.Release(p)
}

// enter makes the session the connection's.
func (f *connection) enter(c *layer.Conn, session *guard.Session, grants []grant, next time.Time) {
	f.packet, f.held = nil, grants
	f.l.live.add(c, f, f.run.User)
	f.l.live.depends(c, f, grants)
	f.mu.Lock()
	f.session, f.conn = session, c
	f.arm(next)
	closed := f.closed
	f.mu.Unlock()
	if closed {
		f.l.live.remove(c, f, f.run.User)
		session.Closed()
		return
	}
	// What was revoked between the look into the store and this moment has not seen the connection, nor has the end of
	// a user or her password since the run began.
	f.recheck()
}

// grant returns what the client may do now, and when to look again.
func (f *connection) grant() (g guard.Grant, grants []grant, next time.Time, err error) {
	grants, next, err = f.settings.registrar.granted(f.run.User, f.clientID)
	if err != nil {
		return g, nil, next, err
	}
	g.Identity = f.run.User
	if g.Scope, err = scope(grants); err != nil {
		return g, nil, next, err
	}
	if f.settings.Lifetime > 0 {
		g.Expires = f.run.Since.Add(f.settings.Lifetime)
	}
	return g, grants, next, nil
}

// refresh looks at the grants anew: tokens were presented, or have expired, or a claim has changed. The guard ends the
// connection if it has a subscription that they do not cover any more. A store that fails ends it too, since nobody
// then knows.
func (f *connection) refresh() {
	f.refreshing.Lock()
	defer f.refreshing.Unlock()
	f.mu.Lock()
	session, c, closed := f.session, f.conn, f.closed
	f.mu.Unlock()
	if session == nil || closed {
		return
	}
	grant, grants, next, err := f.grant()
	for err == nil && f.l.live.depends(c, f, grants) {
		grant, grants, next, err = f.grant()
	}
	if err != nil {
		f.l.logger.Error("looking for grants", "client", f.clientID, "reason", err.Error())
		session.End(wire.UnspecifiedError, err)
		return
	}
	if !sameGrants(f.held, grants) {
		f.held = grants
		_ = session.Renew(grant) // it ends the connection itself
	}
	f.mu.Lock() // not before: whoever finds the next time in the future goes by the session's grant
	f.arm(next)
	f.mu.Unlock()
}

// arm sets the timer for the next look at the grants; f.mu is held.
func (f *connection) arm(next time.Time) {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
	f.next = next
	if !next.IsZero() && !f.closed {
		f.stop = f.l.clock.AfterFunc(next.Sub(f.l.clock.Now()), f.refresh)
	}
}

// plain is the CONNECT for the broker.
func (s *settings) plain(m *wire.ConnectPacket, user string) (wire.Packet, error) {
	m.Properties = m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	m.HasPassword, m.Password = false, nil
	m.HasUsername, m.Username = false, nil
	if name := s.UserName(user); name != "" {
		m.HasUsername, m.Username = true, []byte(name)
	}
	p, err := m.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOversized, err)
	}
	return p, nil
}

// welcome puts the welcome into CONNACK, or, before v5, in its place: that client has had one.
func (f *connection) welcome(m *wire.ConnackPacket) (wire.Packet, error) {
	b, err := f.run.Welcome(handshake.Welcome{
		Lifetime: f.settings.Lifetime, Time: f.l.clock.Now(), SessionPresent: m.SessionPresent, ReturnCode: m.Code,
		MaxTokens: uint16(f.settings.MaxTokens), MaxClaim: f.settings.MaxClaim,
	})
	if err != nil {
		return nil, err
	}
	if f.version != wire.V5 {
		return f.spoken(b)
	}
	m.Properties = m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	m.Properties = m.Properties[:len(m.Properties):len(m.Properties)]
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(Method)).AppendBytes(wire.AuthenticationData, b)
	return m.Append(nil, wire.V5)
}

// hear refuses a client that has proved itself for what its tokens may permit, a Will most likely, and lets it present
// them all the same, within Config.Timeout: the broker never hears of this connection, but the next one of this client
// finds them granted.
func (f *connection) hear(c *layer.Conn, why error) error {
	f.logRefusal(why)
	f.lingering = true
	return c.Send(f.refusal(wire.NotAuthorized))
}

// linger takes requests of a client that was refused, and nothing else.
func (f *connection) linger(c *layer.Conn, p wire.Packet) error {
	if p.Type() == wire.Publish {
		m, err := wire.ParsePublish(p, f.version)
		if err != nil {
			return err
		}
		if string(m.Topic) == f.settings.AuthenticationTopic && m.QoS == 0 && !m.Retain {
			if response, _ := f.carryOut(m.Payload); response != nil {
				return f.say(c, response)
			}
			return nil
		}
	}
	return c.End(ErrRefused, nil)
}
