// Package steady keeps the clients of tests on paho.golang v0.23.0 from crashing when a connection ends just after a
// PUBREC: the library answers that on a connection that its session has lost meanwhile, which is nil
// (paho/session/state, PacketReceived). It does so with and without a scheme.
package steady

import (
	"io"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/session"
)

// Session returns s without the fault: such a PUBREC counts as not received, and the exchange goes on when the session
// does.
func Session(s session.SessionManager) session.SessionManager {
	return &steady{SessionManager: s}
}

type steady struct {
	session.SessionManager
	mu        sync.Mutex
	connected bool
}

// ConAckReceived implements session.SessionManager.
func (s *steady) ConAckReceived(w io.Writer, cp *packets.Connect, ca *packets.Connack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = true
	return s.SessionManager.ConAckReceived(w, cp, ca)
}

// ConnectionLost implements session.SessionManager.
func (s *steady) ConnectionLost(d *packets.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = false
	return s.SessionManager.ConnectionLost(d)
}

// PacketReceived implements session.SessionManager.
func (s *steady) PacketReceived(p *packets.ControlPacket, to chan<- *packets.Publish) error {
	if p.Type != packets.PUBREC {
		return s.SessionManager.PacketReceived(p, to)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.connected {
		return nil
	}
	return s.SessionManager.PacketReceived(p, to)
}
