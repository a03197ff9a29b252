package brokers

import (
	"net/url"
	"path/filepath"

	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// addresses are ones of TCP for every name, whose ports held holds, and the Unix socket in dir.
func addresses(held *ports.Set, dir string, names []string) (map[string]*url.URL, error) {
	urls := map[string]*url.URL{Unix: {Scheme: Unix, Path: filepath.Join(dir, "sock")}}
	for _, transport := range names {
		host, err := held.Take()
		if err != nil {
			return nil, err
		}
		urls[transport] = &url.URL{Scheme: transport, Host: host}
		if transport == WS || transport == WSS {
			urls[transport].Path = "/mqtt"
		}
	}
	return urls, nil
}

// copied keeps callers from editing the original.
func copied(u *url.URL) *url.URL {
	if u == nil {
		return nil
	}
	c := *u
	return &c
}
