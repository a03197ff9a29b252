package tlspsk

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// What a peer may make us hold and do.
const (
	firstRead  = 2 << 10  // octets of the first buffer
	keptRead   = 32 << 10 // octets that a busy connection reads at once
	maxMessage = 1 << 16  // octets of one handshake message
	maxIdle    = 16       // records in a row that bring neither data nor the handshake forward
)

// ccsRule says what a change_cipher_spec record means at the moment.
type ccsRule uint8

const (
	ccsRefused  ccsRule = iota
	ccsIgnored          // it is one of those that deceive middleboxes, RFC 8446 section 5 and appendix D.4
	ccsExpected         // TLS 1.2: from here on, pending protects the records
)

// inbound is the direction towards us.
type inbound struct {
	sync.Mutex
	err     error // of everything that ended it, io.EOF after close_notify
	cipher  *record.Cipher
	secret  []byte         // of TLS 1.3, behind cipher
	pending *record.Cipher // of TLS 1.2, until change_cipher_spec
	ccs     ccsRule
	sawCCS  bool
	version Version // 0 while open
	opened  bool    // a record was opened under cipher

	raw        []byte // raw[start:end] has arrived
	start, end int
	hand       []byte // of handshake messages, not taken yet
	data       []byte // for Read, in raw
	idle       int
}

func (in *inbound) wipe() {
	in.cipher.Wipe()
	in.pending.Wipe()
	clear(in.secret)
	clear(in.hand)
	clear(in.raw)
	in.secret, in.pending, in.hand, in.data, in.raw = nil, nil, nil, nil, nil
	in.start, in.end = 0, 0
	if in.err == nil {
		in.err = net.ErrClosed
	}
}

// Read reads what the peer wrote. It returns io.EOF after the peer's close_notify and io.ErrUnexpectedEOF if the
// connection below ended without one.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if len(b) == 0 {
		return 0, nil
	}
	c.in.Lock()
	defer c.in.Unlock()
	for len(c.in.data) == 0 && c.in.err == nil && !c.closed.Load() {
		err := c.receive()
		if isTimeout(err) && !c.closed.Load() {
			return 0, err
		}
		if err != nil {
			c.in.err = err
		}
	}
	if c.closed.Load() {
		c.in.wipe()
		return 0, net.ErrClosed
	}
	if len(c.in.data) == 0 {
		return 0, c.in.err
	}
	n := copy(b, c.in.data)
	c.in.data = c.in.data[n:]
	return n, nil
}

// receive takes one record after the handshake.
func (c *Conn) receive() error {
	err := c.advance()
	for err == nil {
		raw := c.in.takeMessage()
		if raw == nil {
			break
		}
		if err = c.in.idled(); err == nil {
			err = c.postHandshake(raw)
		}
	}
	if err == nil || err == io.EOF || isTimeout(err) {
		return err
	}
	return c.abort(err)
}

// postHandshake judges a handshake message after the handshake (RFC 8446 section 4.6).
func (c *Conn) postHandshake(raw []byte) error {
	t, _ := message.Header(raw)
	switch {
	case c.in.version == TLS13 && t == message.TypeKeyUpdate:
		requested, err := message.ParseKeyUpdate(raw)
		if err != nil {
			return malformed(err)
		}
		if requested {
			c.out.owed.Store(true)
		}
		return c.readNext13(c.state.Load().CipherSuite, schedule.Update(c.in.secret))
	case c.in.version == TLS13 && t == message.TypeNewSessionTicket && c.client:
		return nil // there is no resumption
	case c.in.version == TLS12 && t == message.TypeHelloRequest && c.client:
		if err := message.ParseEmpty(raw, t); err != nil {
			return malformed(err)
		}
		return nil // which RFC 5246 section 7.4.1.1 allows; there is no renegotiation
	case c.in.version == TLS12 && t == message.TypeClientHello && !c.client:
		return refuse(alertNoRenegotiation, "the client wants to renegotiate")
	}
	return unexpected(raw, "data")
}

// readMessage reads the next message of the handshake.
func (c *Conn) readMessage() ([]byte, error) {
	for {
		if raw := c.in.takeMessage(); raw != nil {
			c.in.idle = 0
			return raw, nil
		}
		if err := c.advance(); err != nil {
			return nil, inHandshake(err)
		}
	}
}

// inHandshake is the error for a close_notify during the handshake, which is no end of data.
func inHandshake(err error) error {
	if err == io.EOF {
		return alertCloseNotify
	}
	return err
}

// takeMessage returns the first whole message of what has come, nil if there is none. It stays valid.
func (in *inbound) takeMessage() []byte {
	if len(in.hand) < message.HeaderLen {
		return nil
	}
	_, n := message.Header(in.hand)
	n += message.HeaderLen
	if len(in.hand) < n {
		return nil
	}
	raw := in.hand[:n:n]
	if in.hand = in.hand[n:]; len(in.hand) == 0 {
		in.hand = nil
	}
	return raw
}

// advance reads one record and files what is in it: handshake messages in hand, data in data.
func (c *Conn) advance() error {
	in := &c.in
	t, body, err := c.readRecord()
	if err != nil {
		return err
	}
	if len(in.hand) > 0 && t != record.Handshake && t != record.Alert {
		return refuse(alertUnexpectedMessage, "record of type %d inside a handshake message", t)
	}
	switch t {
	case record.Handshake:
		return in.addHandshake(body)
	case record.Alert:
		return in.alert(body)
	case record.ChangeCipherSpec:
		return in.changeCipherSpec(body)
	case record.Data:
		if c.state.Load() == nil {
			return refuse(alertUnexpectedMessage, "data during the handshake")
		}
		if len(body) == 0 {
			return in.idled()
		}
		in.idle = 0
		in.data = body
		return nil
	}
	return refuse(alertUnexpectedMessage, "record of type %d", t)
}

// idled counts what brings nothing forward.
func (in *inbound) idled() error {
	if in.idle++; in.idle > maxIdle {
		return refuse(alertUnexpectedMessage, "too many records without data")
	}
	return nil
}

func (in *inbound) addHandshake(body []byte) error {
	if len(body) == 0 {
		return refuse(alertUnexpectedMessage, "empty handshake record") // RFC 8446 section 5.1
	}
	in.hand = append(in.hand, body...)
	if len(in.hand) >= message.HeaderLen {
		if _, n := message.Header(in.hand); n > maxMessage-message.HeaderLen {
			return refuse(alertDecodeError, "handshake message of %d octets", n)
		}
	}
	return nil
}

// alert judges an alert (RFC 8446 section 6, RFC 5246 section 7.2).
func (in *inbound) alert(body []byte) error {
	switch len(body) {
	case 0:
		return refuse(alertUnexpectedMessage, "empty alert record")
	case 2:
	default:
		return refuse(alertDecodeError, "alert of %d octets", len(body))
	}
	level, a := body[0], AlertError(body[1])
	switch {
	case a == alertCloseNotify:
		return io.EOF
	case in.version == TLS13 && a == alertUserCanceled, in.version != TLS13 && level == levelWarning:
		if len(in.hand) > 0 {
			return refuse(alertUnexpectedMessage, "alert inside a handshake message")
		}
		return in.idled()
	case in.version != TLS13 && level != levelFatal:
		return refuse(alertIllegalParameter, "alert of level %d", level)
	}
	return a
}

func (in *inbound) changeCipherSpec(body []byte) error {
	if len(body) != 1 || body[0] != 1 {
		return refuse(alertUnexpectedMessage, "change_cipher_spec with another value")
	}
	in.sawCCS = true
	switch in.ccs {
	case ccsIgnored:
		return in.idled()
	case ccsExpected:
		in.cipher, in.pending, in.ccs = in.pending, nil, ccsRefused
		return nil
	}
	return refuse(alertUnexpectedMessage, "change_cipher_spec")
}

// readNext13 goes on to the keys of another secret. No message may have begun under the old ones (RFC 8446 section
// 5.1).
func (c *Conn) readNext13(suite CipherSuite, secret []byte) error {
	if len(c.in.hand) > 0 {
		clear(secret)
		return refuse(alertUnexpectedMessage, "a handshake message spans a change of keys")
	}
	cipher, err := cipher13(suite, secret)
	if err != nil {
		return internal(err)
	}
	c.note(secret)
	c.in.setKeys13(cipher, secret)
	return nil
}

// readRecord reads one record and takes its protection off.
func (c *Conn) readRecord() (record.Type, []byte, error) {
	in := &c.in
	if err := c.fill(record.HeaderLen); err != nil {
		return 0, nil, err
	}
	header := in.raw[in.start : in.start+record.HeaderLen]
	t, n := record.Type(header[0]), int(header[3])<<8|int(header[4])
	if t < record.ChangeCipherSpec || t > record.Data || header[1] != 3 {
		return 0, nil, refuse(alertUnexpectedMessage, "% x does not begin a TLS record", header)
	}
	if n > in.cipher.MaxBody() {
		return 0, nil, refuse(alertRecordOverflow, "record of %d octets", n)
	}
	if err := c.fill(record.HeaderLen + n); err != nil {
		return 0, nil, err
	}
	whole := in.raw[in.start : in.start+record.HeaderLen+n]
	in.start += len(whole)
	body := whole[record.HeaderLen:]
	switch {
	case t == record.ChangeCipherSpec && in.cipher.Modern() && in.ccs == ccsIgnored:
		return t, body, nil // never protected in TLS 1.3
	case t == record.Alert && in.cipher.Modern() && !in.opened && len(body) == 2 && !c.client && c.state.Load() == nil:
		// Of a client that has come to no keys: the handshake fails anyway. Later on anybody could end the data so.
		return t, []byte{levelFatal, body[1]}, nil
	}
	t, body, err := in.cipher.Open(whole)
	in.opened = in.opened || err == nil
	if err != nil {
		return 0, nil, fromRecord(err)
	}
	if in.cipher.Modern() && t == record.ChangeCipherSpec {
		return 0, nil, refuse(alertUnexpectedMessage, "protected change_cipher_spec")
	}
	return t, body, nil
}

// fill reads until n octets have arrived. The buffer grows with what arrives and not by what n claims.
func (c *Conn) fill(n int) error {
	in := &c.in
	for in.end-in.start < n {
		in.makeRoom(n)
		m, err := c.conn.Read(in.raw[in.end:])
		in.end += m
		if m == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// makeRoom sees to it that there is room for one octet more.
func (in *inbound) makeRoom(n int) {
	switch {
	case in.start == in.end && in.end == len(in.raw) && len(in.raw) < keptRead:
		in.raw = make([]byte, max(firstRead, 2*len(in.raw)))
		in.start, in.end = 0, 0
	case in.start == in.end:
		in.start, in.end = 0, 0
	case in.start > 0 && (in.end == len(in.raw) || n > len(in.raw)-in.start):
		in.end = copy(in.raw, in.raw[in.start:in.end])
		in.start = 0
	}
	if in.end == len(in.raw) {
		in.raw = append(bytes.Clone(in.raw), make([]byte, len(in.raw))...)
	}
}

// isTimeout tells a deadline that passed from every other error.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
