package ace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// discoverOn finds a source of tokens if there is none yet.
func (s *scheme) discoverOn(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	s.mu.Lock()
	found := s.source != nil
	s.mu.Unlock()
	if found {
		return nil
	}
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	hint, err := s.hint(ctx, conn)
	conn.Close()
	if err != nil {
		return err
	}
	source, err := s.discover(ctx, *hint)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDiscovery, err)
	}
	if source == nil {
		return fmt.Errorf("%w: Config.Discover returned no source", ErrDiscovery)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source == nil {
		s.source = cached(source, s.clock)
	}
	return nil
}

// hint asks the broker, if it is the one that its certificate says.
func (s *scheme) hint(ctx context.Context, conn net.Conn) (*Hint, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	t, err := s.tunnel(conn)
	if err != nil {
		return nil, err
	}
	if err := t.leadsTo(new(Token), s.skipChain); err != nil {
		return nil, err
	}
	return Discover(ctx, conn)
}

// Discover asks a broker where a token can be had (RFC 9431, 2.4.1): on conn, which is used up by it and must be
// closed by the caller, it sends a CONNECT of MQTT v5 without a token and reads the refusal. The errors are
// ErrDiscovery and those of conn. What the hint says is not to be trusted without a decision, see [Config.Discover].
func Discover(ctx context.Context, conn net.Conn) (*Hint, error) {
	m := wire.ConnectPacket{Version: wire.V5, CleanStart: true, KeepAlive: 60, Properties: authentication(nil, pop.Method, nil)}
	connect, err := m.Append(nil)
	if err != nil {
		return nil, err
	}
	p, err := exchange(ctx, conn, connect)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDiscovery, err)
	}
	ack, err := wire.ParseConnack(p, wire.V5)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the broker answers with %v", ErrDiscovery, p.Type())
	case ack.Code == wire.Success:
		return nil, fmt.Errorf("%w: the broker lets clients without a token connect", ErrDiscovery)
	case ack.Code == wire.BadAuthenticationMethod:
		return nil, fmt.Errorf("%w: the broker does not do RFC 9431 (code 0x8C)", ErrDiscovery)
	}
	hint := hintIn(ack.Properties)
	if hint == nil {
		return nil, fmt.Errorf("%w: the broker refuses (code 0x%02X) without saying where to get a token", ErrDiscovery, ack.Code)
	}
	return hint, nil
}

// maxAnswer bounds what is read of a broker outside a client's connection, in bytes.
const maxAnswer = 64 << 10

// exchange writes a packet and reads one, while ctx lasts.
func exchange(ctx context.Context, conn net.Conn, p wire.Packet) (wire.Packet, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := conn.Write(p)
	var answer wire.Packet
	if err == nil {
		answer, err = wire.Read(conn, maxAnswer)
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return answer, err
}
