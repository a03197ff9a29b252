package acebroker

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This file is a client made of bytes. It follows the figures of RFC 9431 and the tables of MQTT, and uses neither
// package wire nor package pop: what it agrees with the broker half about, the two did not copy from each other.

// patience bounds what only a failure makes last.
const patience = time.Minute

// raw is a TLS connection over which a test speaks MQTT byte by byte.
type raw struct {
	t    testing.TB
	conn *tls.Conn
}

func field(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// packet puts a fixed header before a body.
func packet(first byte, body []byte) []byte {
	p := []byte{first}
	for n := len(body); ; {
		digit := byte(n % 128)
		if n /= 128; n > 0 {
			digit |= 128
		}
		p = append(p, digit)
		if n == 0 {
			return append(p, body...)
		}
	}
}

// properties puts the length before properties.
func properties(b ...[]byte) []byte {
	all := bytes.Join(b, nil)
	return append(packet(0, all)[1:len(packet(0, all))-len(all)], all...)
}

// method and data are the properties 21 and 22 of MQTT5 2.2.2.2.
func method(name string) []byte { return append([]byte{21}, field([]byte(name))...) }
func data(b []byte) []byte      { return append([]byte{22}, field(b)...) }

// will is a Will in the payload of CONNECT.
type will struct {
	topic  string
	retain bool
}

// connectV5 is figure 2 of RFC 9431: User Name Flag 0, Password Flag 0.
func connectV5(id string, clean bool, w *will, props ...[]byte) []byte {
	flags, payload := byte(0), field([]byte(id))
	if clean {
		flags |= 2
	}
	if w != nil {
		flags |= 4
		if w.retain {
			flags |= 32
		}
		payload = append(payload, 0)
		payload = append(payload, field([]byte(w.topic))...)
		payload = append(payload, field([]byte("gone"))...)
	}
	head := append(field([]byte("MQTT")), 5, flags, 0, 60)
	return packet(0x10, bytes.Join([][]byte{head, properties(props...), payload}, nil))
}

// connectV3 is figure 10, with the protocol level that MQTT 3.1.1 has.
func connectV3(id string, username, password []byte) []byte {
	flags, payload := byte(2), field([]byte(id))
	if username != nil {
		flags |= 128
		payload = append(payload, field(username)...)
	}
	if password != nil {
		flags |= 64
		payload = append(payload, field(password)...)
	}
	return packet(0x10, append(append(field([]byte("MQTT")), 4, flags, 0, 60), payload...))
}

// auth is figure 5 and 6: AUTH with a Reason Code, the method and data.
func auth(reason byte, b []byte) []byte {
	return packet(0xF0, append([]byte{reason}, properties(method("ace"), data(b))...))
}

// authData is figures 3 and 4.
func authData(token, proof []byte) []byte { return append(field(token), proof...) }

// exported is the 32 bytes of the exporter: an empty context, not none.
func (r *raw) exported() []byte {
	r.t.Helper()
	state := r.conn.ConnectionState()
	b, err := state.ExportKeyingMaterial("EXPORTER-ACE-MQTT-Sign-Challenge", []byte{}, 32)
	require.NoError(r.t, err)
	return b
}

// rawKey proves possession without package pop.
type rawKey struct {
	secret []byte
	ed     ed25519.PrivateKey
}

func (k rawKey) prove(input []byte) []byte {
	if k.ed != nil {
		return ed25519.Sign(k.ed, input)
	}
	h := hmac.New(sha256.New, k.secret)
	h.Write(input)
	return h.Sum(nil)
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	_, err := r.conn.Write(b)
	require.NoError(r.t, err)
}

// receive reads one packet.
func (r *raw) receive() []byte {
	r.t.Helper()
	p, err := r.tryReceive()
	require.NoError(r.t, err)
	return p
}

func (r *raw) tryReceive() ([]byte, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 1)
	if _, err := io.ReadFull(r.conn, head); err != nil {
		return nil, err
	}
	length, shift, digit := 0, 0, make([]byte, 1)
	for {
		if _, err := io.ReadFull(r.conn, digit); err != nil {
			return nil, err
		}
		head = append(head, digit[0])
		length |= int(digit[0]&127) << shift
		if shift += 7; digit[0] < 128 {
			break
		}
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r.conn, body)
	return append(head, body...), err
}

// over checks that the connection ends here, with nothing more on it.
func (r *raw) over() {
	r.t.Helper()
	p, err := r.tryReceive()
	require.Error(r.t, err, "received %x", p)
	if ne, ok := err.(net.Error); ok {
		require.False(r.t, ne.Timeout(), "the connection stands")
	}
}

// nonce takes the broker's nonce out of its AUTH: f0 13 18 11 15 "ace" 16 0008 nonce, as in ace.md's vectors.
func (r *raw) nonce() []byte {
	r.t.Helper()
	p := r.receive()
	prefix, err := hex.DecodeString("f013181115000361636516" + "0008")
	require.NoError(r.t, err)
	require.Len(r.t, p, len(prefix)+8, "%x", p)
	require.Equal(r.t, prefix, p[:len(prefix)])
	return p[len(prefix):]
}

// answer is the AUTH that answers a challenge.
func answer(k rawKey, nonce []byte) []byte {
	own := make([]byte, 8)
	rand.Read(own)
	return auth(0x18, append(own, k.prove(append(bytes.Clone(nonce), own...))...))
}

// connack returns the Reason Code and the properties of CONNACK on v5.
func (r *raw) connack() (code byte, props []byte) {
	r.t.Helper()
	p := r.receive()
	require.Equal(r.t, byte(0x20), p[0], "%x", p)
	body := p[1:]
	for body[0] >= 128 {
		body = body[1:]
	}
	body = body[1:]
	require.GreaterOrEqual(r.t, len(body), 3)
	rest := body[2:]
	for rest[0] >= 128 {
		rest = rest[1:]
	}
	return body[1], rest[1:]
}

// accepted checks for a CONNACK of success that names the method.
func (r *raw) accepted() {
	r.t.Helper()
	code, props := r.connack()
	require.Zero(r.t, code)
	require.Contains(r.t, string(props), string(method("ace")))
}

// refused checks for a CONNACK with the code, and the end.
func (r *raw) refused(code byte) (props []byte) {
	r.t.Helper()
	got, props := r.connack()
	require.Equal(r.t, code, got)
	r.over()
	return props
}

// disconnected checks for DISCONNECT with the code, and the end.
func (r *raw) disconnected(code byte) {
	r.t.Helper()
	require.Equal(r.t, []byte{0xE0, 1, code}, r.receive())
	r.over()
}

// publish is a PUBLISH of v5.
func publishV5(topic string, qos byte, id uint16, payload string) []byte {
	body := field([]byte(topic))
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	return packet(0x30|qos<<1, append(append(body, 0), payload...))
}

// subscribeV5 is a SUBSCRIBE of v5.
func subscribeV5(id uint16, filters ...string) []byte {
	body := append(binary.BigEndian.AppendUint16(nil, id), 0)
	for _, f := range filters {
		body = append(append(body, field([]byte(f))...), 1)
	}
	return packet(0x82, body)
}
