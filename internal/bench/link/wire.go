package link

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// Traffic is what a publisher and its broker exchange, both directions together, in
// bytes of the transport's payload: TLS counts, TCP and IP headers do not.
type Traffic struct {
	// Connect is from the first byte to CONNACK.
	Connect int64
	// Message is of one message with its acknowledgement.
	Message float64
}

// Weigh sends n messages and counts.
func Weigh(ctx context.Context, cfg Config, n int) (t Traffic, err error) {
	relay, err := newRelay(cfg.Broker.URL.Host, 0)
	if err != nil {
		return Traffic{}, err
	}
	defer func() { err = errors.Join(err, relay.Close()) }()
	l, err := Open(ctx, cfg.via(relay))
	if err != nil {
		return Traffic{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	t.Connect = relay.Last() // Open connects the publisher last
	if err := l.Send(ctx, n); err != nil {
		return Traffic{}, err
	}
	t.Message = float64(relay.Last()-t.Connect) / float64(n)
	return t, nil
}

// Trip is how a client connects over a long way, from dialing to CONNACK, with all connections that it makes. TCP's
// own connect takes no time there: on a real link it is one round trip more for each.
type Trip struct {
	Time time.Duration
	// RoundTrips is how often the client had to wait for the broker.
	RoundTrips int64
	// Bytes is what both have sent, counted as in [Traffic].
	Bytes int64
}

// Travel connects a publisher over a link on which everything arrives a delay later, in either direction.
func Travel(ctx context.Context, cfg Config, delay time.Duration) (t Trip, err error) {
	relay, err := newRelay(cfg.Broker.URL.Host, delay)
	if err != nil {
		return Trip{}, err
	}
	defer func() { err = errors.Join(err, relay.Close()) }()
	start := time.Now()
	disconnect, err := Connect(ctx, cfg.via(relay))
	if err != nil {
		return Trip{}, err
	}
	t.Time = time.Since(start)
	for _, p := range relay.passages() {
		t.RoundTrips += p.trips.Load()
		t.Bytes += p.bytes.Load()
	}
	return t, disconnect()
}

// via is cfg with the relay for a broker, whose certificate is still asked for in the
// broker's own name.
func (cfg Config) via(relay *relay) Config {
	u := *cfg.Broker.URL
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.Broker.TLS != nil {
		config = cfg.Broker.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	u.Host = relay.Addr()
	cfg.Broker.URL, cfg.Broker.TLS = &u, config
	return cfg
}
