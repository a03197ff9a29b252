package ace

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// schedule sets the timers of the token in force: its renewal, and its end. The session is locked.
func (f *session) schedule() {
	f.stopTimers()
	now := f.scheme.clock.Now()
	f.after(f.token.Expires.Sub(now), f.expire)
	if !f.renewable() {
		return
	}
	due := f.token.renewalOf(now, rand.Float64()).Sub(now)
	if due <= 0 { // else a source that gives nothing but old tokens would be asked, and the broker shown one, all the time
		due = min(f.token.patience(now), longestPause)
	}
	f.after(due, f.renew)
}

// longestPause is the time between renewals with tokens that are all due when they come.
const longestPause = time.Second

// renewable reports whether another token can be had.
func (f *session) renewable() bool {
	f.scheme.mu.Lock()
	defer f.scheme.mu.Unlock()
	_, static := f.scheme.source.(Static)
	return !static
}

func (f *session) after(d time.Duration, do func()) {
	f.stops = append(f.stops, f.scheme.clock.AfterFunc(max(d, 0), do))
}

func (f *session) stopTimers() {
	for _, stop := range f.stops {
		stop()
	}
	f.stops = nil
}

// expire ends the connection: the broker would, and until then would refuse each message.
func (f *session) expire() {
	f.mu.Lock()
	stale := f.phase == up && f.token.valid(f.scheme.clock.Now()) != nil
	f.mu.Unlock()
	if !stale {
		return // renewed at the last moment
	}
	var last wire.Packet
	if f.conn.Version() == wire.V5 {
		last = layer.Goodbye(f.conn, wire.DisconnectWithWill) // nobody has meant the client to go
	}
	_ = f.conn.End(ErrTokenExpired, last)
}

// renew fetches a token and shows it to the broker. It runs on a timer's goroutine.
func (f *session) renew() {
	token, err := f.scheme.token(f.ctx)
	if err == nil {
		err = f.tunnel.leadsTo(&token, f.scheme.skipChain)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase != up || f.ctx.Err() != nil {
		return
	}
	if err == nil && !bytes.Equal(token.Raw, f.token.Raw) {
		err = f.show(token)
		if err == nil {
			return
		}
	}
	if err != nil {
		f.tell(Token{}, err)
	}
	now := f.scheme.clock.Now()
	f.after(f.token.patience(now), f.renew)
}

// show begins to use a new token: on v5 by re-authentication, and otherwise by ending the connection, after which the
// client makes another. The session is locked.
func (f *session) show(token Token) error {
	if f.reconnects() {
		f.leaving = &token
		if len(f.unacknowledged) == 0 {
			f.leave()
			return nil
		}
		f.after(f.token.Expires.Sub(f.scheme.clock.Now())/2, f.left) // a client need not acknowledge at all
		return nil
	}
	data, err := f.scheme.form.again(&token)
	if err != nil {
		return err
	}
	if f.scheme.quiet {
		f.conn.Hold()
	}
	if err := f.send(f.conn, wire.ReAuthenticate, data); err != nil {
		return err // the connection is ending, or has a peer that does not read
	}
	f.next, f.asked = &token, f.scheme.form.proves()
	return nil
}

// reconnects reports whether tokens are renewed by another connection.
func (f *session) reconnects() bool { return f.scheme.method == "" || f.conn.Version() != wire.V5 }

// delivered notes a PUBLISH that the client is to acknowledge.
func (f *session) delivered(c *layer.Conn, p wire.Packet) {
	if !f.reconnects() {
		return
	}
	m, err := wire.ParsePublish(p, c.Version())
	if err != nil || m.QoS == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unacknowledged == nil {
		f.unacknowledged = make(map[uint16]struct{})
	}
	f.unacknowledged[m.ID] = struct{}{}
}

// acknowledged lets the client's PUBACK or PUBREC pass, and ends a connection that has waited for the last one.
func (f *session) acknowledged(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if !f.reconnects() {
		return p, nil
	}
	m, err := wire.ParseAck(p, c.Version())
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.unacknowledged, m.ID)
	if f.phase != up || f.leaving == nil || len(f.unacknowledged) > 0 {
		return p, nil
	}
	if err := c.Send(p); err != nil { // before the DISCONNECT
		return nil, err
	}
	f.leave()
	return nil, nil
}

// left ends a connection that has waited long enough.
func (f *session) left() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase == up && f.leaving != nil {
		f.leave()
	}
}

// leave ends the connection, for the client to make another with the new token. The session is locked.
func (f *session) leave() {
	f.phase = over
	_ = f.conn.Retire(ErrRenewal, goodbye(f.conn.Version()))
	f.tell(*f.leaving, nil)
}

// goodbye is a client's normal DISCONNECT: its Will is not published.
func goodbye(v wire.Version) wire.Packet {
	p, _ := (&wire.ReasonPacket{Type: wire.Disconnect}).Append(nil, v) // always encodes
	return p
}

// accepted takes the token that the broker has accepted for the one in force. The session is locked.
func (f *session) accepted() error {
	f.token, f.next = *f.next, nil
	f.schedule()
	f.tell(f.token, nil)
	return f.release()
}

// release lets go what show has held.
func (f *session) release() error {
	if !f.scheme.quiet {
		return nil
	}
	return f.conn.Release()
}

// tell reports a renewal, not while the session is locked: what is told may look at the client.
func (f *session) tell(token Token, err error) {
	if f.scheme.renewed != nil {
		go f.scheme.renewed(token, err)
	}
}
