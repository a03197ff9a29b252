package main

import (
	"fmt"
	"net"
	"os"
)

// notifyReady tells the service manager that everything can be reached, if one wants to know: NOTIFY_SOCKET is the path
// of a Unix datagram socket, or the name of an abstract one after "@" (sd_notify(3)).
func notifyReady() error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}
