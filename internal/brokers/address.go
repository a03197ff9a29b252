package brokers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
)

// addresses are free ones of TCP for every name, and the Unix socket in dir.
func addresses(dir string, names []string) (map[string]*url.URL, error) {
	urls := map[string]*url.URL{Unix: {Scheme: Unix, Path: filepath.Join(dir, "sock")}}
	for _, transport := range names {
		host, release, err := freeHost()
		if err != nil {
			return nil, err
		}
		defer release() // only when all are found, so that none is found twice
		urls[transport] = &url.URL{Scheme: transport, Host: host}
		if transport == WS || transport == WSS {
			urls[transport].Path = "/mqtt"
		}
	}
	return urls, nil
}

// freeHost finds a port of 127.0.0.1 that nobody uses at the moment, and holds it until release is called. It is below
// those that systems give to outgoing connections, one of which could otherwise have it when the broker wants to start
// again.
func freeHost() (host string, release func(), err error) {
	const first, last, attempts = 20000, 32000, 100
	for range attempts {
		host = fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first))
		listener, listenErr := net.Listen("tcp", host)
		if listenErr == nil {
			return host, func() { _ = listener.Close() }, nil
		}
		err = errors.Join(err, listenErr)
	}
	return "", nil, err
}

// copied keeps callers from editing the original.
func copied(u *url.URL) *url.URL {
	if u == nil {
		return nil
	}
	c := *u
	return &c
}
