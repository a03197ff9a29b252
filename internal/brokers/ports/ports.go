// Package ports finds TCP ports of 127.0.0.1 for programs that have to be told where to listen, in tests, benchmarks
// and demonstrations.
//
// A port that was free a moment ago may be taken when the program asks for it, or asks for it again after a restart.
// Those of this package are below, or above, those that the system gives to outgoing connections; and nobody else who
// asks this package, in whatever process, gets one before it is given back. Each port is held by a UDP socket of the
// same number, which costs a file descriptor and stands in no TCP listener's way.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// Set holds ports. The zero value holds none. It is not safe for concurrent use.
type Set struct {
	held []net.PacketConn
}

// Take finds a port that nobody listens on and nobody else holds. The result is 127.0.0.1 and the port.
func (s *Set) Take() (host string, err error) {
	const attempts = 1000
	first, last := span(os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"))
	for range attempts {
		host = fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first))
		var lock net.PacketConn
		if lock, err = net.ListenPacket("udp", host); err != nil {
			continue
		}
		if err = refused(host); err == nil {
			s.held = append(s.held, lock)
			return host, nil
		}
		_ = lock.Close() // it was only to be held
	}
	return "", fmt.Errorf("ports: none of 127.0.0.1 is free: %w", err)
}

// refused tells by an error that somebody listens. It does not listen itself to find out: a program that another
// goroutine is starting would hold that listener too for a moment, and whoever has been given the port could not.
func refused(host string) error {
	conn, err := net.DialTimeout("tcp", host, time.Second)
	if err == nil {
		return errors.Join(errors.New("ports: somebody listens"), conn.Close())
	}
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		return err
	}
	return nil
}

// Close gives all ports back. What listens on them should have ended.
func (s *Set) Close() error {
	var errs []error
	for _, lock := range s.held {
		errs = append(errs, lock.Close())
	}
	s.held = nil
	return errors.Join(errs...)
}

// span are the ports to choose from, the last one excluded, where outgoing connections have those that Linux names in
// text.
func span(text []byte, err error) (first, last int) {
	const least, most, wanted = 5000, 65536, 12000
	first, last = 20000, 32000 // below those of every system as it comes
	var from, to int
	if err != nil {
		return first, last
	}
	if _, err := fmt.Sscan(string(text), &from, &to); err != nil {
		return first, last
	}
	switch {
	case from >= least+1000: // as many below as there are
		return max(least, from-wanted-500), from
	case to < most-1000:
		return to + 1, most
	default: // none are left alone
		return first, last
	}
}
