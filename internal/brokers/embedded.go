package brokers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// Embedded is mochi-mqtt in this process. It implements [Broker].
type Embedded struct {
	// Server is the broker itself, for tests that look inside or add hooks.
	Server *mochi.Server

	authority *ca.Authority
	tls       *tls.Config
	dir       string
	urls      map[string]*url.URL
	ports     ports.Set

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]struct{} // nil while stopped
	running   sync.WaitGroup
}

// StartEmbedded starts a broker in this process that listens on free ports of 127.0.0.1 and a Unix socket.
func StartEmbedded(cfg Config) (*Embedded, error) {
	authority, err := cfg.authority()
	if err != nil {
		return nil, err
	}
	presents, err := authority.ServerConfig()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mochi")
	if err != nil {
		return nil, err
	}
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumPacketSize = cfg.MaximumPacketSize
	server := mochi.New(&mochi.Options{Capabilities: capabilities, Logger: slog.New(slog.DiscardHandler)})
	b := &Embedded{Server: server, authority: authority, tls: presents, dir: dir}
	b.urls, err = addresses(&b.ports, dir, []string{TCP, TLS, WS, WSS})
	err = errors.Join(
		err,
		server.AddHook(new(auth.AllowHook), nil),
		server.AddHook(&announceLimit{limit: cfg.MaximumPacketSize}, nil),
	)
	if err == nil {
		err = server.Serve()
	}
	if err == nil {
		err = b.Start(context.Background())
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Name returns "mochi".
func (b *Embedded) Name() string { return "mochi" }

// URL is the address of the listener for a transport, nil for an unknown one.
func (b *Embedded) URL(transport string) *url.URL { return copied(b.urls[transport]) }

// RootCAs verifies the certificate that the tls and wss listeners present.
func (b *Embedded) RootCAs() *x509.CertPool { return b.authority.Pool() }

// InFlight is the number of QoS 1 and 2 exchanges that the broker has not finished with a client, of both directions,
// whether the client is connected or not.
func (b *Embedded) InFlight(clientID string) int {
	client, ok := b.Server.Clients.Get(clientID)
	if !ok {
		return 0
	}
	return client.State.Inflight.Len()
}

// Connected tells whether the client has a connection and its session.
func (b *Embedded) Connected(clientID string) bool {
	client, ok := b.Server.Clients.Get(clientID)
	return ok && !client.Closed()
}

// Start listens again after Stop, on the same addresses.
func (b *Embedded) Start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = make(map[net.Conn]struct{})
	for transport, u := range b.urls {
		listener, err := b.listen(ctx, u)
		if err != nil {
			return err
		}
		serve := b.serveStream
		if transport == WS || transport == WSS {
			serve = func(l net.Listener) { serveWebsocket(l, b.serveConn) }
		}
		b.serve(listener, serve)
	}
	return nil
}

// Serve hands the connections that listener accepts to the broker, until [Embedded.Stop] or [Embedded.Close] closes
// listener and them and waits for their end. The listener is whatever the caller made of one: wrapped, with TLS,
// without the network. Start does not open it again.
func (b *Embedded) Serve(listener net.Listener) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		return errors.Join(errors.New("brokers: the broker is stopped"), listener.Close())
	}
	b.serve(listener, b.serveStream)
	return nil
}

// serve accepts connections in a goroutine. The caller holds mu.
func (b *Embedded) serve(listener net.Listener, accept func(net.Listener)) {
	b.listeners = append(b.listeners, listener)
	b.running.Go(func() { accept(listener) })
}

// listen opens the listener that u describes.
func (b *Embedded) listen(ctx context.Context, u *url.URL) (net.Listener, error) {
	var config net.ListenConfig
	if u.Scheme == Unix {
		return config.Listen(ctx, "unix", u.Path)
	}
	listener, err := config.Listen(ctx, "tcp", u.Host)
	for attempt := 0; errors.Is(err, syscall.EADDRINUSE) && attempt < 100 && ctx.Err() == nil; attempt++ {
		// A process that is being forked holds our last listener for a moment, until it becomes another program.
		time.Sleep(10 * time.Millisecond)
		listener, err = config.Listen(ctx, "tcp", u.Host)
	}
	if err != nil {
		return nil, err
	}
	if u.Scheme == TLS || u.Scheme == WSS {
		listener = tls.NewListener(listener, b.tls)
	}
	return listener, nil
}

// serveStream serves every connection that arrives on listener, and returns when the listener is closed.
func (b *Embedded) serveStream(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		b.running.Go(func() { b.serveConn(conn) })
	}
}

// serveConn runs the broker's side of one connection until it ends.
func (b *Embedded) serveConn(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	b.mu.Lock()
	if b.conns == nil {
		b.mu.Unlock()
		return
	}
	b.conns[conn] = struct{}{}
	b.running.Add(1)
	b.mu.Unlock()
	defer b.running.Done()

	_ = b.Server.EstablishConnection("net", conn) // how the connection ended is the client's business

	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
}

// Stop disconnects every client, without a DISCONNECT, and closes the listeners.
func (b *Embedded) Stop() error {
	b.mu.Lock()
	listeners, conns := b.listeners, b.conns
	b.listeners, b.conns = nil, nil
	b.mu.Unlock()
	var errs []error
	for _, listener := range listeners {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) { // the owner of a listener may have closed it
			errs = append(errs, err)
		}
	}
	for conn := range conns { // at the same time: one that has something to say may take a moment for it
		b.running.Go(func() { _ = conn.Close() }) // may be closed already: then there is nothing to do
	}
	b.running.Wait()
	return errors.Join(errs...)
}

// Close stops the broker for good.
func (b *Embedded) Close() error {
	return errors.Join(b.Stop(), b.Server.Close(), b.ports.Close(), os.RemoveAll(b.dir))
}

// announceLimit puts the Maximum Packet Size into CONNACK, which mochi-mqtt enforces without telling its clients.
type announceLimit struct {
	mochi.HookBase
	limit uint32
}

// ID names the hook.
func (h *announceLimit) ID() string { return "announce-limit" }

// Provides lists the events that the hook wants.
func (h *announceLimit) Provides(event byte) bool {
	return event == mochi.OnPacketEncode && h.limit > 0
}

// OnPacketEncode edits CONNACK on its way out.
func (h *announceLimit) OnPacketEncode(_ *mochi.Client, p packets.Packet) packets.Packet {
	if p.FixedHeader.Type == packets.Connack && p.ProtocolVersion == 5 {
		p.Properties.MaximumPacketSize = h.limit
	}
	return p
}
