package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// patience bounds a handshake, and how long the broker waits for its clients to go.
const patience = 10 * time.Second

// maxPending bounds how many connections may be without a complete handshake.
const maxPending = 1000

// serve runs a broker behind a listener that knows keys, until ctx ends.
func serve(ctx context.Context, address string, keys map[string][]byte, told io.Writer) error {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	listener, err := tlspsk.NewListener(inner, &tlspsk.Config{Keys: func(identity string) []byte { return keys[identity] }})
	if err != nil {
		return err
	}
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(identityIsUser), nil); err != nil {
		return err
	}
	if err := server.Serve(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	defer server.Close()

	logger := log.New(told, "", log.LstdFlags)
	logger.Printf("listening on %s, %d keys", inner.Addr(), len(keys))
	pending := make(chan struct{}, maxPending)
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		pending <- struct{}{}
		go func() {
			defer conn.Close()
			state, err := handshake(ctx, conn.(*tlspsk.Conn))
			<-pending
			if err != nil {
				logger.Printf("%s: %v", conn.RemoteAddr(), err)
				return
			}
			logger.Printf("%s: %q, %v, %v, %v", conn.RemoteAddr(), state.Identity, state.Version, state.CipherSuite, state.Group)
			_ = server.EstablishConnection("psk", conn) // how it ends is the client's business
		}()
	}
}

func handshake(ctx context.Context, conn *tlspsk.Conn) (tlspsk.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	return conn.ConnectionState(), err
}

// identityIsUser makes the identity the user's name for the broker, whatever CONNECT says. This broker lets all of them
// do everything; one that does not looks at the name in its OnACLCheck.
type identityIsUser struct{ mochi.HookBase }

func (*identityIsUser) ID() string { return "identity-is-user" }

func (*identityIsUser) Provides(event byte) bool {
	return event == mochi.OnConnectAuthenticate || event == mochi.OnACLCheck
}

func (*identityIsUser) OnConnectAuthenticate(client *mochi.Client, _ packets.Packet) bool {
	conn, ok := client.Net.Conn.(*tlspsk.Conn)
	if !ok {
		return false
	}
	client.Properties.Username = []byte(conn.ConnectionState().Identity)
	return true
}

func (*identityIsUser) OnACLCheck(client *mochi.Client, _ string, _ bool) bool {
	return len(client.Properties.Username) > 0
}
