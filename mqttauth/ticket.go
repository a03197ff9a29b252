package mqttauth

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
)

// ticket is the account of a second phase.
type ticket struct {
	username string
	password func() string // a function, so that no verb of fmt prints it
	until    time.Time     // by our clock, less a margin
	tokens   string        // what was presented for it
}

// opener makes connections of our own.
type opener struct {
	dial func(context.Context) (net.Conn, error)
}

// twoPhases is the scheme with two phases, which opens connections of its own.
type twoPhases struct{ client *Client }

// Conn is for those who have no Open.
func (s twoPhases) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return s.client.Conn(ctx, conn)
}

// Open fetches a ticket on a connection of its own unless there is one, and returns the client's connection.
func (s twoPhases) Open(ctx context.Context, _ *url.URL, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	c := s.client
	c.mu.Lock()
	c.opener = &opener{dial}
	c.mu.Unlock()
	t := c.validTicket()
	if t == nil {
		if err := c.onOwn(ctx, func(*requests) error { return nil }); err != nil {
			return nil, err
		}
		if t = c.validTicket(); t == nil {
			return nil, fmt.Errorf("%w: the ticket expired before it was used", ErrExpired)
		}
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := layer.Handshake(ctx, conn); err != nil {
		conn.Close()
		return nil, err
	}
	second, err := c.second(conn, t)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return second, nil
}

// validTicket returns the ticket unless it expires soon, or was issued for other tokens than the wallet has now.
func (c *Client) validTicket() *ticket {
	signature := c.walletSignature()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket == nil || c.ticket.tokens != signature || !c.clock.Now().Before(c.ticket.until) {
		return nil
	}
	return c.ticket
}

// walletSignature tells one content of the wallet from another.
func (c *Client) walletSignature() string {
	if c.cfg.Wallet == nil {
		return ""
	}
	tokens, err := c.cfg.Wallet.Tokens()
	if err != nil {
		return err.Error()
	}
	var signature []byte
	for _, t := range tokens {
		id := t.ID()
		signature = append(signature, id[:]...)
	}
	return string(signature)
}

// dropTicket forgets a ticket that the broker does not accept any more.
func (c *Client) dropTicket(t *ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket == t {
		c.ticket = nil
	}
}

// onOwn makes a connection of our own, goes through the first phase, calls f and has a ticket issued for what was
// presented by then.
func (c *Client) onOwn(ctx context.Context, f func(*requests) error) error {
	c.mu.Lock()
	open := c.opener
	c.mu.Unlock()
	if open == nil {
		return fmt.Errorf("%w: Wrap or WrapV3 must have connected first", ErrNotConnected)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, ErrTimeout)
	defer cancel()
	conn, err := open.dial(ctx)
	if err != nil {
		return err
	}
	o, err := c.first(ctx, conn)
	if err != nil {
		conn.Close()
		return err
	}
	defer o.close()
	signature := c.walletSignature()
	if err := c.presentWallet(ctx, o.requests, int(o.welcome.MaxTokens)); err != nil {
		return err
	}
	if err := f(o.requests); err != nil {
		return err
	}
	return c.issue(ctx, o, signature)
}

// issue asks for a ticket.
func (c *Client) issue(ctx context.Context, o *own, signature string) error {
	result, err := o.requests.do(ctx, &operation.Operation{Kind: operation.Ticket})
	if err != nil {
		return err
	}
	session, offset := o.requests.established()
	password, err := session.TicketPassword(result.Username)
	if err != nil {
		return err
	}
	until := result.Until.Add(-offset)
	margin := min(until.Sub(c.clock.Now())/10, time.Minute)
	t := &ticket{
		username: result.Username, password: func() string { return password },
		until: until.Add(-margin), tokens: signature,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticket = t
	return nil
}

// second is the filter of the second phase: it puts the ticket into CONNECT.
func (c *Client) second(conn net.Conn, t *ticket) (net.Conn, error) {
	if err := c.checkSecure(conn); err != nil {
		return nil, err
	}
	return layer.New(conn, &withTicket{client: c, ticket: t}), nil
}

// checkSecure refuses a connection without TLS, unless the application wants it.
func (c *Client) checkSecure(conn net.Conn) error {
	if secure, _ := layer.Exporter(conn); secure == nil && !c.cfg.AllowPlaintext {
		return ErrPlaintext
	}
	return nil
}

type withTicket struct {
	client *Client
	ticket *ticket

	mu     sync.Mutex
	stop   func() bool // the end of the connection, nil while there is none to come
	closed bool
}

// Outgoing puts the ticket into CONNECT, in place of any other user name and password.
func (w *withTicket) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connect {
		return p, nil
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	if err := w.client.checkConnect(&m); err != nil {
		return nil, c.End(err, nil)
	}
	m.HasUsername, m.Username = true, []byte(w.ticket.username)
	m.HasPassword, m.Password = true, []byte(w.ticket.password())
	return m.Append(nil)
}

// Incoming notices a broker that does not accept the ticket: the next connection begins with the first phase.
func (w *withTicket) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connack {
		return p, nil
	}
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil {
		return nil, err
	}
	switch m.Code {
	case wire.V3BadUserNameOrPassword, wire.V3NotAuthorized, wire.BadUserNameOrPassword, wire.NotAuthorized, wire.Banned:
		w.client.dropTicket(w.ticket)
	case wire.Success:
		w.renew(c)
	}
	return p, nil
}

// shortTicket is what is left of a ticket that is not worth another one: the end of a token, most likely.
const shortTicket = 2 * time.Second

// renew has the connection end before the account does, in the orderly way: the client library connects again, with a
// new ticket, and takes its session over. When an account is removed, mosquitto takes the subscriptions away that it
// permitted, and says Session Present all the same to whoever comes back: an application that believes it would never
// hear anything again.
func (w *withTicket) renew(c *layer.Conn) {
	left := w.ticket.until.Sub(w.client.clock.Now())
	if left < shortTicket {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.stop != nil {
		return
	}
	w.stop = w.client.clock.AfterFunc(left, func() {
		_ = c.End(fmt.Errorf("%w: the ticket is to be renewed", ErrExpired), wire.Packet{byte(wire.Disconnect) << 4, 0})
	})
}

// Closed leaves nothing behind.
func (w *withTicket) Closed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.stop != nil {
		w.stop()
	}
}
