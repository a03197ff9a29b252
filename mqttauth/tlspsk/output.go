package tlspsk

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// outbound is the direction towards the peer.
type outbound struct {
	sync.Mutex
	err     error // of everything that ended it
	shut    bool  // close_notify or a fatal alert was sent
	cipher  *record.Cipher
	secret  []byte // of TLS 1.3, behind cipher
	started bool   // the first flight has left
	owed    atomic.Bool
	buf     *[]byte // records that have not left yet, from sent on; nil if none
	sent    int

	deadline atomic.Pointer[time.Time]
}

// batch is how many records leave in one write to the connection below.
const batch = 4

// buffers are for records on their way. They hold nothing that is not on the wire.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, batch*(record.MaxPlaintext+record.Overhead)+2*record.Overhead)
	return &b
}}

func (out *outbound) wipe() {
	out.cipher.Wipe()
	clear(out.secret)
	out.secret, out.buf, out.sent = nil, nil, 0
	if out.err == nil {
		out.err = net.ErrClosed
	}
}

func (out *outbound) setDeadline(t time.Time) {
	if t.IsZero() {
		out.deadline.Store(nil)
		return
	}
	out.deadline.Store(&t)
}

// late tells whether the deadline has passed: then nothing may be encrypted, because what is encrypted will be sent.
func (out *outbound) late() bool {
	t := out.deadline.Load()
	return t != nil && !time.Now().Before(*t)
}

// Write writes b. It returns how many octets will reach the peer if the connection lasts; see [Conn] for those that a
// deadline leaves in a buffer. Every other error is permanent.
func (c *Conn) Write(b []byte) (int, error) {
	c.writers.Add(1)
	defer c.writers.Add(-1)
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	c.out.Lock()
	defer c.out.Unlock()
	n, err := c.write(b)
	if c.closed.Load() {
		c.out.wipe()
	}
	return n, err
}

func (c *Conn) write(b []byte) (n int, err error) {
	switch {
	case c.out.err != nil:
		return 0, c.out.err
	case c.dead.Load() != nil:
		return 0, *c.dead.Load()
	case c.out.shut:
		return 0, errShutdown
	case c.out.late():
		return 0, os.ErrDeadlineExceeded
	}
	for {
		if err := c.flush(); err != nil {
			return n, err
		}
		if n == len(b) {
			return n, nil
		}
		sealed, err := c.seal(b[n:])
		n += sealed
		if err != nil {
			c.out.err = err
			return n, err
		}
	}
}

// seal encrypts what fits into a batch and returns how much that was.
func (c *Conn) seal(b []byte) (n int, err error) {
	if c.out.owed.Swap(false) {
		if err := c.updateKey(); err != nil {
			return 0, err
		}
	}
	for range batch {
		if c.out.cipher.Blocks() >= c.config.keyLimit() {
			if err := c.renewKey(); err != nil {
				return n, err
			}
		}
		piece := b[n:min(len(b), n+record.MaxPlaintext)]
		if len(piece) == 0 {
			break
		}
		if err := c.queue(record.Data, piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// renewKey is called when the key is used up.
func (c *Conn) renewKey() error {
	switch suite := c.state.Load().CipherSuite; {
	case suite == TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256:
		return ErrKeyUsed
	case suite == TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256:
		return nil // its limit is the sequence number
	}
	return c.updateKey()
}

// updateKey queues a KeyUpdate and goes on to the next key (RFC 8446 section 4.6.3).
func (c *Conn) updateKey() error {
	if err := c.queue(record.Handshake, message.EncodeKeyUpdate(false)); err != nil {
		return err
	}
	secret := schedule.Update(c.out.secret)
	cipher, err := cipher13(c.state.Load().CipherSuite, secret)
	if err != nil {
		return err
	}
	c.note(secret)
	c.out.setKeys13(cipher, secret)
	return nil
}

// queue appends payload to what is to be sent, in as many records as it needs.
func (c *Conn) queue(t record.Type, payload []byte) error {
	out := &c.out
	if out.buf == nil {
		out.buf = buffers.Get().(*[]byte)
	}
	for first := true; first || len(payload) > 0; first = false {
		piece := payload[:min(len(payload), record.MaxPlaintext)]
		payload = payload[len(piece):]
		var err error
		if c.client && !out.started {
			*out.buf = record.AppendFirst(*out.buf, t, piece)
		} else if *out.buf, err = out.cipher.Append(*out.buf, t, piece); err != nil {
			return err
		}
	}
	return nil
}

// flush sends what is queued.
func (c *Conn) flush() error {
	out := &c.out
	if out.buf == nil {
		return nil
	}
	out.started = true
	for out.sent < len(*out.buf) {
		n, err := c.conn.Write((*out.buf)[out.sent:])
		out.sent += n
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			if !isTimeout(err) {
				out.err = err
			}
			return err
		}
	}
	*out.buf = (*out.buf)[:0]
	buffers.Put(out.buf)
	out.buf, out.sent = nil, 0
	return nil
}

// sendMessages queues handshake messages, which may share a record, and nothing yet leaves.
func (c *Conn) sendMessages(messages ...[]byte) error {
	c.out.Lock()
	defer c.out.Unlock()
	for _, m := range messages {
		if err := c.queue(record.Handshake, m); err != nil {
			return err
		}
	}
	return nil
}

// sendCCS queues a change_cipher_spec.
func (c *Conn) sendCCS() error {
	c.out.Lock()
	defer c.out.Unlock()
	var plain *record.Cipher // in TLS 1.3 it is never protected, and in TLS 1.2 nothing before it is
	if c.out.buf == nil {
		c.out.buf = buffers.Get().(*[]byte)
	}
	var err error
	*c.out.buf, err = plain.Append(*c.out.buf, record.ChangeCipherSpec, []byte{1})
	return err
}

// endFlight lets what is queued leave.
func (c *Conn) endFlight() error {
	c.out.Lock()
	defer c.out.Unlock()
	return c.flush()
}

// sendAlert sends an alert behind what is queued. Those that are not errors have the level of a warning.
func (c *Conn) sendAlert(a AlertError) error {
	level := byte(levelFatal)
	if a == alertCloseNotify || a == alertNoRenegotiation {
		level = levelWarning
	}
	if err := c.queue(record.Alert, []byte{level, byte(a)}); err != nil {
		return err
	}
	return c.flush()
}

// closeNotify ends our direction.
func (c *Conn) closeNotify() error {
	c.out.setDeadline(time.Time{})
	if err := c.conn.SetWriteDeadline(time.Now().Add(partingTime)); err != nil {
		return err
	}
	c.out.Lock()
	defer c.out.Unlock()
	switch {
	case c.out.err != nil:
		return c.out.err
	case c.out.shut:
		return nil
	}
	c.out.shut = true
	return c.sendAlert(alertCloseNotify)
}
