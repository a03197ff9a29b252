package layer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// KeyExporter derives keys that both ends of a secure connection have and nobody else (RFC 5705, RFC 8446 section 7.5).
type KeyExporter interface {
	ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error)
}

// Exporter returns the nearest connection, conn itself or one below it by NetConn, that exports keying material, nil if
// there is none: one that has the method, as MQTT-Auth's and TLS-PSK's have, or a tls.ConnectionState, as a *tls.Conn
// has, whatever hides it. resumed tells whether that TLS session was resumed, so that its keying material is no fresh
// challenge. The handshake must be complete, for which there is [Handshake].
//
// In TLS 1.2 a nil context is not an empty one; in TLS 1.3 they are the same.
func Exporter(conn net.Conn) (k KeyExporter, resumed bool) {
	for conn != nil {
		if s, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
			state := s.ConnectionState()
			if state.HandshakeComplete {
				return &state, state.DidResume
			}
			return nil, false
		}
		if k, ok := conn.(KeyExporter); ok {
			return k, false
		}
		conn = below(conn)
	}
	return nil, false
}

// Handshake completes the handshake of the nearest connection, conn itself or one below it by NetConn, that has one by
// the method HandshakeContext, as crypto/tls and TLS-PSK have; without one there is nothing to do. A scheme calls it
// before it puts a [Conn] on top: a handshake inside Read could be broken off by the deadline with which the layer
// wakes a reader.
func Handshake(ctx context.Context, conn net.Conn) error {
	for conn != nil {
		if h, ok := conn.(interface{ HandshakeContext(context.Context) error }); ok {
			if err := h.HandshakeContext(ctx); err != nil {
				return fmt.Errorf("layer: handshake: %w", err)
			}
			return nil
		}
		conn = below(conn)
	}
	return nil
}

// below returns the connection that conn is made of, nil if it does not tell.
func below(conn net.Conn) net.Conn {
	if c, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return c.NetConn()
	}
	return nil
}
