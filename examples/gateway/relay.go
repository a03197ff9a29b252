package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// errOldUpstream is a v5 client of a broker that does not know MQTT 5.
var errOldUpstream = errors.New("the upstream broker does not speak MQTT 5")

// maxConnect bounds the CONNECT that the gateway reads; the listener has bounded it already.
const maxConnect = 1 << 20

// relay connects one client, whose CONNECT the scheme has let through, with the upstream broker until either is gone.
// The error says why it could not.
func (g *gateway) relay(ctx context.Context, client net.Conn, l *listener) error {
	defer client.Close()
	connect, err := wire.Read(client, maxConnect)
	if err != nil {
		return err
	}
	m, err := wire.ParseConnect(connect)
	if err != nil {
		return err
	}
	broker, err := g.upstream.dial(ctx, client.RemoteAddr(), client.LocalAddr())
	if err != nil {
		g.metrics.upstreamErrors.Inc()
		return errors.Join(fmt.Errorf("upstream: %w", err), refuse(client, m.Version, unavailable(m.Version)))
	}
	defer broker.Close()
	stop := context.AfterFunc(ctx, func() { _ = broker.Close() })
	defer stop()
	if _, err := broker.Write(connect); err != nil {
		return errors.Join(fmt.Errorf("upstream: %w", err), refuse(client, m.Version, unavailable(m.Version)))
	}
	if err := g.first(client, broker, m.Version); err != nil {
		return err
	}
	l.metrics.established.Inc()
	defer l.metrics.established.Dec()
	g.both(ctx, client, broker, l)
	return nil
}

// unavailable is the code of CONNACK for a broker that is away (MQTT5 3.2.2.2, table 3.1 of MQTT 3.1.1).
func unavailable(v wire.Version) byte {
	if v == wire.V5 {
		return wire.ServerUnavailable
	}
	return 3
}

// refuse answers CONNECT in the broker's place.
func refuse(client net.Conn, v wire.Version, code byte) error {
	p, err := (&wire.ConnackPacket{Code: code}).Append(nil, v)
	if err != nil {
		return err
	}
	_, err = client.Write(p)
	return err
}

// first passes on the broker's first packet. A broker of MQTT 3.1.1 answers CONNECT of v5 in its own form, or not at
// all; clients make nothing of either.
func (g *gateway) first(client, broker net.Conn, v wire.Version) error {
	if err := broker.SetReadDeadline(time.Now().Add(g.upstream.timeout)); err != nil {
		return err
	}
	answer, err := wire.Read(broker, wire.MaxPacket)
	if err != nil {
		code := unavailable(v)
		if v == wire.V5 && errors.Is(err, io.EOF) {
			code, err = wire.UnsupportedProtocolVersion, errOldUpstream
		}
		return errors.Join(fmt.Errorf("upstream: %w", err), refuse(client, v, code))
	}
	if v == wire.V5 && answer.Type() == wire.Connack && len(answer.Body()) == 2 {
		return errors.Join(errOldUpstream, refuse(client, v, wire.UnsupportedProtocolVersion))
	}
	if err := broker.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	_, err = client.Write(answer)
	return err
}

// both copies in both directions until both have ended. When one ends in good order the other may finish what is under
// way; when it breaks off, so does the other, so that the broker publishes the Will.
func (g *gateway) both(ctx context.Context, client, broker net.Conn, l *listener) {
	var copying sync.WaitGroup
	pass := func(to, from net.Conn, counter counter) {
		err := g.pump(ctx, to, from, counter)
		if half, ok := to.(interface{ CloseWrite() error }); err == nil && ok && half.CloseWrite() == nil {
			_ = from.SetReadDeadline(time.Now()) // nothing more is expected from there
			_ = to.SetReadDeadline(time.Now().Add(farewell))
			return
		}
		_ = to.Close()
		_ = from.Close()
	}
	copying.Go(func() { pass(broker, client, l.metrics.fromClients) })
	copying.Go(func() { pass(client, broker, l.metrics.toClients) })
	copying.Wait()
}

// farewell is how long the other side may go on after one has ended in good order.
const farewell = 5 * time.Second

// The buffer of a direction grows under load and shrinks again: an idle connection needs little.
const (
	smallest = 2 << 10
	largest  = 64 << 10
	calm     = 64 // small reads in a row, after which it shrinks
)

// pump copies until from ends, which is no error, or either side fails.
func (g *gateway) pump(ctx context.Context, to io.Writer, from io.Reader, counter counter) error {
	var limit *rate.Limiter
	if n := g.bytesPerSecond; n > 0 {
		limit = rate.NewLimiter(rate.Limit(n), max(n, largest))
	}
	buf, small := make([]byte, smallest), 0
	for {
		n, err := from.Read(buf)
		if n > 0 {
			counter.Add(float64(n))
			if limit != nil {
				if err := limit.WaitN(ctx, n); err != nil {
					return err
				}
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == len(buf) && len(buf) < largest:
			buf = make([]byte, 4*len(buf))
			small = 0
		case n > smallest:
			small = 0
		default:
			if small++; small > calm && len(buf) > smallest {
				buf, small = make([]byte, smallest), 0
			}
		}
	}
}
