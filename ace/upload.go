package ace

import (
	"context"
	"fmt"
	"net"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Upload gives a token to a broker ahead of the connection that uses it (RFC 9431, 2.2.2): on conn, it connects with
// MQTT v5 and no authentication, under clientID or, if that is empty, a name that the broker chooses, publishes the
// token on "authz-info" and disconnects. conn must be encrypted and lead to a broker that TLS has verified; the
// caller closes it.
//
// A broker that does not take the token is a [*NotAuthorizedError]. The connection that uses the token is one of
// TLS with a pre-shared key, or of an Authenticator with Config.Stored where the broker finds the token by the Client
// Identifier.
func Upload(ctx context.Context, conn net.Conn, clientID string, token Token) error {
	if err := layer.Handshake(ctx, conn); err != nil {
		return err
	}
	t, err := (*scheme)(nil).tunnel(conn)
	if err != nil {
		return err
	}
	if err := t.leadsTo(&token, false); err != nil {
		return err
	}
	if len(token.Raw) == 0 {
		return fmt.Errorf("%w: the token is empty", ErrToken)
	}
	connect, err := (&wire.ConnectPacket{Version: wire.V5, CleanStart: true, KeepAlive: 60, ClientID: []byte(clientID)}).Append(nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	p, err := exchange(ctx, conn, connect)
	if err != nil {
		return fmt.Errorf("ace: upload: %w", err)
	}
	ack, err := wire.ParseConnack(p, wire.V5)
	if err != nil {
		return fmt.Errorf("ace: upload: %w", err)
	}
	if ack.Code != wire.Success {
		return &NotAuthorizedError{Code: ack.Code, Hint: hintIn(ack.Properties)}
	}
	return publishToken(ctx, conn, &token)
}

// publishToken publishes at QoS 1, which is answered, and leaves.
func publishToken(ctx context.Context, conn net.Conn, token *Token) error {
	m := wire.PublishPacket{QoS: 1, ID: 1, Topic: []byte(pop.AuthzTopic), Payload: token.Raw}
	publish, err := m.Append(nil, wire.V5)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	p, err := exchange(ctx, conn, publish)
	if err != nil {
		return fmt.Errorf("ace: upload: %w", err)
	}
	code := wire.UnspecifiedError
	switch p.Type() {
	case wire.Puback:
		ack, err := wire.ParseAck(p, wire.V5)
		if err != nil || ack.ID != m.ID {
			return fmt.Errorf("ace: upload: %w", layer.ErrProtocol)
		}
		code = ack.Reason
	case wire.Disconnect:
		left, err := wire.ParseReason(p, wire.V5)
		if err != nil {
			return fmt.Errorf("ace: upload: %w", err)
		}
		code = left.Reason
	default:
		return fmt.Errorf("ace: upload: %w: %v", layer.ErrProtocol, p.Type())
	}
	if p.Type() != wire.Puback || code >= wire.UnspecifiedError {
		return &NotAuthorizedError{Code: code}
	}
	_, err = conn.Write(goodbye(wire.V5))
	if err != nil {
		return fmt.Errorf("ace: upload: %w", err)
	}
	return nil
}
