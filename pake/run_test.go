package pake

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

var groups = []Group{P256, Ristretto255}

var password = []byte("correct horse battery staple")

// quick is a Config that spends no time on stretching.
func quick(g Group) Config {
	return Config{Group: g, Stretch: Stretch{Skip: true}}
}

// enrol is NewVerifier for alice at broker.
func enrol(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	v, err := NewVerifier(cfg, "alice", "broker", password)
	require.NoError(t, err)
	return v
}

// run is one run of alice with broker, unless told otherwise, and what came of
// it. tamper, if set, sees each message on its way and returns what arrives.
type run struct {
	client, server       Config
	user, serversUser    string
	serverName, itsName  string
	verifier             *Verifier
	password             []byte
	tamper               func(number int, message []byte) []byte
	msg1, msg2           []byte
	msg3, msg4           []byte
	clientKey, serverKey []byte
	reached              int // the message that was last sent
}

func (r *run) login() (err error) {
	r.setDefaults()
	send := func(number int, message []byte) []byte {
		r.reached = number
		if r.tamper == nil {
			return message
		}
		return r.tamper(number, bytes.Clone(message))
	}
	var c *Client
	var s *Server
	if r.msg1, c, err = Start(r.client, r.user, r.serverName, r.password); err != nil {
		return err
	}
	msg1 := send(1, r.msg1)
	if r.msg2, s, err = Respond(r.server, r.serversUser, r.itsName, r.verifier, msg1); err != nil {
		return err
	}
	if r.msg3, err = c.Reply(send(2, r.msg2)); err != nil {
		return err
	}
	if r.msg4, r.serverKey, err = s.Finish(send(3, r.msg3)); err != nil {
		return err
	}
	if r.clientKey, err = c.Finish(send(4, r.msg4)); err != nil {
		return err
	}
	if !bytes.Equal(r.clientKey, r.serverKey) {
		return errors.New("two keys")
	}
	return nil
}

func (r *run) setDefaults() {
	if r.user == "" {
		r.user = "alice"
	}
	if r.serversUser == "" {
		r.serversUser = r.user
	}
	if r.serverName == "" {
		r.serverName = "broker"
	}
	if r.itsName == "" {
		r.itsName = r.serverName
	}
	if r.password == nil {
		r.password = password
	}
}

func (r *run) mustLogin(t testing.TB) {
	t.Helper()
	require.NoError(t, r.login())
	require.Len(t, r.clientKey, 32)
	require.NotEqual(t, make([]byte, 32), r.clientKey)
}
