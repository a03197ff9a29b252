// Package handshake is a run of MQTT-Auth from hello to welcome and the sealed requests that follow it, for both roles
// and without a transport: frames in, frames out.
//
//	client                                      authority
//	hello, c := Start(...)           -- 1 ->
//	                                 <- 2 --    answer := authority.Receive(source, hello)
//	proof := c.Challenge(challenge)  -- 3 ->
//	                                 <- 4 --    answer = authority.Receive(source, proof)
//	session, w := c.Welcome(welcome)            welcome := answer.Session.Welcome(...)
//	_, request := session.Request(op) -- 16 ->
//	                                 <- 17 --   r := answer.Session.Request(request); answer.Session.Respond(...)
//	result := session.Response(...)
//
// The key exchange is AugPAKE (package pake) between the user and the server name, in the context of frame.HelloFrame.
// From its key SK both derive
//
//	PRK       = HKDF-Extract(salt: session id, SK)                              RFC 5869, SHA-256
//	client    = HKDF-Expand(PRK, "mqttauth v1 client", 32)                      seals requests
//	authority = HKDF-Expand(PRK, "mqttauth v1 authority", 32)                   seals the welcome and responses
//	exporter  = HKDF-Expand(PRK, "mqttauth v1 exporter", 32)                    ExportKeyingMaterial
//	binding   = HKDF-Expand(PRK, "mqttauth v1 binding", 32)                     proofs about this session
//	ticket    = HKDF-Expand(PRK, "mqttauth v1 ticket", 32)                      passwords of the second phase
//
// Sealing is AES-256-GCM; the nonce is the counter in 12 octets, the frame's header is the associated data. The
// welcome has counter 0, requests count from 1 and strictly upwards, and a response has the counter of its request.
package handshake

import "errors"

// The errors of a run and of a session, besides those of package pake and codec.ErrMalformed.
var (
	// ErrServerName: the authority is another one than the client wants to talk to.
	ErrServerName = errors.New("mqttauth: the authority has another name")
	// ErrGroup: the authority chose a group that was not offered, or the client offers none that the user's verifier
	// is of.
	ErrGroup = errors.New("mqttauth: no common group")
	// ErrNoRun: a proof for a run that does not exist, has ended, or belongs to another source.
	ErrNoRun = errors.New("mqttauth: no such run")
	// ErrSealed: what was sealed does not open. It says no more on purpose.
	ErrSealed = errors.New("mqttauth: a sealed frame does not open")
	// ErrReplay: a counter that was used before, or a session id that is in use.
	ErrReplay = errors.New("mqttauth: replayed frame")
	// ErrSession: a frame of another session.
	ErrSession = errors.New("mqttauth: a frame of another session")
	// ErrState: a call out of order.
	ErrState = errors.New("mqttauth: the run has ended or awaits another frame")
)
