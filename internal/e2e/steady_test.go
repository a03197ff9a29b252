package e2e

import (
	"io"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/session"
)

// steadySession keeps paho.golang v0.23.0 from crashing when a connection ends just after a PUBREC: it answers that on
// a connection that its session has lost meanwhile, which is nil (paho/session/state, PacketReceived). It does so with
// and without a scheme. Here such a PUBREC counts as not received; the exchange goes on when the session does.
type steadySession struct {
	session.SessionManager
	mu        sync.Mutex
	connected bool
}

func (s *steadySession) ConAckReceived(w io.Writer, cp *packets.Connect, ca *packets.Connack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = true
	return s.SessionManager.ConAckReceived(w, cp, ca)
}

func (s *steadySession) ConnectionLost(d *packets.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = false
	return s.SessionManager.ConnectionLost(d)
}

func (s *steadySession) PacketReceived(p *packets.ControlPacket, to chan<- *packets.Publish) error {
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
