package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// errOldUpstream is a v5 client of a broker that does not know MQTT 5.
var errOldUpstream = errors.New("the upstream broker does not speak MQTT 5")

// maxFirst bounds the first packet of either side: the client's CONNECT, which the listener has bounded already, and
// the broker's answer.
const maxFirst = 1 << 20

// relay connects one client, whose CONNECT the scheme has let through, with the upstream broker. The error says why it
// could not; otherwise it returns once the two are connected, and over is called when both are gone. What is needed to
// connect is not kept for as long as they live.
func (g *gateway) relay(ctx context.Context, client net.Conn, l *listener, over func()) error {
	broker, err := g.connect(ctx, client, l.names)
	if err != nil {
		_ = client.Close()
		return err
	}
	l.metrics.established.Inc()
	stop := context.AfterFunc(ctx, func() { _ = broker.Close() })
	f := g.stalls.watch(client, broker)
	var ended atomic.Int32
	pass := func(to, from net.Conn, writing *atomic.Int64, counter counter) {
		g.pass(ctx, to, from, writing, counter)
		if ended.Add(1) < 2 {
			return
		}
		stop()
		g.stalls.forget(f)
		_, _ = client.Close(), broker.Close()
		l.metrics.established.Dec()
		over()
	}
	g.relays.Go(func() { pass(broker, client, &f.toBroker, l.metrics.fromClients) })
	g.relays.Go(func() { pass(client, broker, &f.toClient, l.metrics.toClients) })
	return nil
}

// connect opens the client's connection to the broker, up to the broker's answer to CONNECT. verified tells that the
// User Name, if there is one, is from the gateway.
func (g *gateway) connect(ctx context.Context, client net.Conn, verified bool) (net.Conn, error) {
	connect, err := wire.Read(client, maxFirst)
	if err != nil {
		return nil, err
	}
	m, err := wire.ParseConnect(connect)
	if err != nil {
		return nil, err
	}
	if connect, err = g.upstream.vouched(connect, &m, verified); err != nil {
		return nil, err
	}
	broker, err := g.upstream.dial(ctx, client.RemoteAddr(), client.LocalAddr())
	if err != nil {
		g.metrics.upstreamErrors.Inc()
		return nil, errors.Join(fmt.Errorf("upstream: %w", err), refuse(client, m.Version, unavailable(m.Version)))
	}
	stop := context.AfterFunc(ctx, func() { _ = broker.Close() })
	defer stop()
	if _, err = broker.Write(connect); err != nil {
		err = errors.Join(fmt.Errorf("upstream: %w", err), refuse(client, m.Version, unavailable(m.Version)))
	} else {
		err = g.first(client, broker, m.Version)
	}
	if err != nil {
		_ = broker.Close()
		return nil, err
	}
	return broker, nil
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
	answer, err := wire.Read(broker, maxFirst)
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

// pass copies in one direction until that has ended. When it ends in good order the other direction may finish what is
// under way; when it breaks off, so does the other, so that the broker publishes the Will.
func (g *gateway) pass(ctx context.Context, to, from net.Conn, writing *atomic.Int64, counter counter) {
	err := g.pump(ctx, to, from, writing, counter)
	if half, ok := to.(interface{ CloseWrite() error }); err == nil && ok && half.CloseWrite() == nil {
		_ = from.SetReadDeadline(time.Now()) // nothing more is expected from there
		_ = to.SetReadDeadline(time.Now().Add(farewell))
		return
	}
	_, _ = to.Close(), from.Close()
}

// farewell is how long the other side may go on after one has ended in good order.
const farewell = 5 * time.Second

// The buffer of a direction grows under load and shrinks again: an idle connection needs little.
const (
	smallest = 512
	largest  = 64 << 10
	calm     = 64 // small reads in a row, after which it shrinks
)

// pump copies until from ends, which is no error, or either side fails. writing has the tick at which the write under
// way began.
func (g *gateway) pump(ctx context.Context, to io.Writer, from io.Reader, writing *atomic.Int64, counter counter) error {
	var limit *rate.Limiter
	if n := int(g.bytesPerSecond.Load()); n > 0 {
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
			writing.Store(g.stalls.now.Load())
			_, err := to.Write(buf[:n])
			writing.Store(0)
			if err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == len(buf) && len(buf) < largest:
			buf = make([]byte, min(4*len(buf), largest))
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
