package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
)

// broker takes the connections of clients that have logged in, each in a goroutine of its own, until they end.
type broker interface {
	serve(ctx context.Context, client net.Conn) error
	close()
}

// inProcess is a broker of our own. It lets everybody do everything: who may do what has been decided in front of it.
type inProcess struct{ server *mochi.Server }

func newInProcess() (inProcess, error) {
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return inProcess{}, err
	}
	return inProcess{server}, server.Serve()
}

func (b inProcess) serve(_ context.Context, client net.Conn) error {
	_ = b.server.EstablishConnection("authority", client) // how it ends is the client's business
	return nil
}

func (b inProcess) close() { _ = b.server.Close() }

// upstream is a broker elsewhere.
type upstream struct {
	address string
	tls     *tls.Config // nil without TLS
}

func newUpstream(u *url.URL, secure *tls.Config) upstream {
	port := u.Port()
	if port == "" {
		port = map[bool]string{true: "8883", false: "1883"}[u.Scheme == "mqtts"]
	}
	up := upstream{address: net.JoinHostPort(u.Hostname(), port)}
	if u.Scheme == "mqtts" {
		up.tls = secure.Clone()
		up.tls.ServerName = u.Hostname()
	}
	return up
}

func (b upstream) serve(ctx context.Context, client net.Conn) error {
	dialer := net.Dialer{Timeout: patience}
	var conn net.Conn
	var err error
	if b.tls != nil {
		conn, err = (&tls.Dialer{NetDialer: &dialer, Config: b.tls}).DialContext(ctx, "tcp", b.address)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", b.address)
	}
	if err != nil {
		return err
	}
	// The end of either is the end of the other, as it was: an orderly one has its DISCONNECT in the stream.
	end := func() { _ = conn.Close(); _ = client.Close() }
	defer end()
	defer context.AfterFunc(ctx, end)()
	var copying sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, client}, {client, conn}} {
		copying.Go(func() {
			defer end()
			_, _ = io.Copy(way[0], way[1])
		})
	}
	copying.Wait()
	return nil
}

func (b upstream) close() {}
