package plug

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"slices"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// V3 returns a copy of opts whose connections s secures. opts and what it points to
// are not changed.
//
// In the copy, CustomOpenConnectionFn opens a connection as opts would have (with
// opts.CustomOpenConnectionFn if that is set) and then calls s.Conn. ConnectTimeout
// bounds dialing and s.Conn together, unless it is 0; a function of the application
// takes its time, and after it s.Conn has ConnectTimeout for itself. Dialing itself, V3
// knows the URL schemes mqtt and tcp, mqtts, tls, ssl, mqtt+ssl and tcps, ws, wss, and
// unix.
//
// The *tls.Config that OnConnectAttempt returns is the one that a connection is
// dialed with. paho.mqtt.golang hands it to nobody once there is an open function;
// therefore OnConnectAttempt is nil in the copy, and the open function calls the
// application's before each dial, right after the ConnectionNotificationBroker. That
// also keeps several clients with the same options apart. An application's own open
// function finds the result in options.TLSConfig.
//
// A protocol version that is not set becomes 4. paho.mqtt.golang would otherwise
// answer a refusal with a second attempt in MQTT 3.1, and show the same credentials
// again.
//
// Store and CustomOpenConnectionFn are to be set before wrapping: set on the result, they
// undo the protection. A Store is noticed, and the connection not opened; a
// CustomOpenConnectionFn cannot be noticed.
//
// If s is also AtRest, PUBLISH packets in opts.Store are stored frozen; without a
// Store the client keeps them in memory, and nothing is done. A Store has no errors:
// a packet that cannot be frozen is not stored, and one that does not thaw is left
// where it is and taken for missing, so it is not sent again; both are told to
// mqtt.ERROR. The client passes over a missing packet, and its identifier is free for
// the next message, which then takes its place in the store.
func V3(opts *mqtt.ClientOptions, s Scheme) *mqtt.ClientOptions {
	o := *opts
	o.Servers = slices.Clone(o.Servers)
	o.HTTPHeaders = o.HTTPHeaders.Clone()
	if o.Dialer != nil {
		d := *o.Dialer // SetConnectTimeout edits it
		o.Dialer = &d
	}

	a := &attemptV3{scheme: s, below: o.CustomOpenConnectionFn, prepare: o.OnConnectAttempt}
	o.CustomOpenConnectionFn = a.connect
	o.OnConnectAttempt = nil

	switch o.ProtocolVersion {
	case 3, 4, 0x83, 0x84:
	default:
		o.SetProtocolVersion(4)
	}

	if rest, ok := s.(AtRest); ok && o.Store != nil {
		f := frost{scheme: rest, session: o.ClientID, version: wire.Version(o.ProtocolVersion & 0x7F), owner: a}
		if below, ok := o.Store.(frozenStore); ok {
			o.Store = frozenStore{Store: below.Store, frost: f.above(below.frost)}
		} else {
			o.Store = frozenStore{Store: o.Store, frost: f}
		}
	}
	return &o
}

// attemptV3 opens the connections of one set of wrapped options, which any number of
// clients may use.
type attemptV3 struct {
	scheme  Scheme
	below   mqtt.OpenConnectionFunc       // nil to dial
	prepare mqtt.ConnectionAttemptHandler // may be nil
}

// connect is an OpenConnectionFunc. It takes everything from the options it is called
// with, which are the ones that the client works with.
func (a *attemptV3) connect(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
	if err := a.intact(&o); err != nil {
		return nil, err
	}
	a.prepareTLS(u, &o)
	o.TLSConfig = unresumed(a.scheme, wire.Version(o.ProtocolVersion&0x7F), o.TLSConfig)
	try := attempt{scheme: a.scheme, url: u, timeout: o.ConnectTimeout}
	if a.below != nil {
		try.below = func() (net.Conn, error) { return a.below(u, o) }
	} else {
		try.dial = func(ctx context.Context, t Transport) (net.Conn, error) { return dialV3(ctx, &o, u, t) }
	}
	return try.open(context.Background())
}

// prepareTLS calls the OnConnectAttempt that is in force for this attempt: the one
// that stood in the options when they were wrapped, or one that was set on the wrapped
// options since. The client has called the latter too, but lost what it returned.
// Whoever is asked next finds a handler that returns what it is given, so that a layer
// below does not prepare the configuration a second time.
func (a *attemptV3) prepareTLS(u *url.URL, o *mqtt.ClientOptions) {
	prepare := o.OnConnectAttempt
	if prepare == nil {
		prepare = a.prepare
	}
	if prepare == nil {
		return
	}
	o.TLSConfig = prepare(u, o.TLSConfig)
	o.OnConnectAttempt = func(_ *url.URL, config *tls.Config) *tls.Config { return config }
}
