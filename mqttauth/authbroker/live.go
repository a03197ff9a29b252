package authbroker

import (
	"maps"
	"slices"
	"sync"

	"github.com/mqttsec/mqttsec/internal/layer"
)

// live finds the connections of a claim or a user. The zero value is ready.
type live struct {
	mu     sync.Mutex
	byConn map[*layer.Conn]*connection
	byName map[string]map[*connection]struct{}
}

func claimName(filter string) string { return "claim " + filter }

func userName(user string) string { return "user " + user }

func (l *live) add(c *layer.Conn, f *connection, user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byConn == nil {
		l.byConn, l.byName = make(map[*layer.Conn]*connection), make(map[string]map[*connection]struct{})
	}
	l.byConn[c] = f
	l.name(f, userName(user))
}

func (l *live) remove(c *layer.Conn, f *connection, user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byConn[c] != f {
		return
	}
	delete(l.byConn, c)
	l.unname(f, userName(user))
	for _, name := range f.names {
		l.unname(f, name)
	}
	f.names = nil
}

// of returns the connection of c, nil if it is over.
func (l *live) of(c *layer.Conn) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byConn[c]
}

// depends notes which claims a connection lives by, and reports whether there is one among them that it did not live by
// before: what has changed of that claim since the grants were looked up, the connection has not been told.
func (l *live) depends(c *layer.Conn, f *connection, grants []grant) (more bool) {
	names := make(map[string]struct{}, len(grants))
	for _, g := range grants {
		names[claimName(g.claim)] = struct{}{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byConn[c] != f {
		return false
	}
	for _, name := range f.names {
		if _, still := names[name]; !still {
			l.unname(f, name)
		}
	}
	f.names = slices.Collect(maps.Keys(names))
	for name := range names {
		more = l.name(f, name) || more
	}
	return more
}

func (l *live) all(name string) []*connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.byName[name]))
}

// every returns all connections.
func (l *live) every() []*connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.byConn))
}

// name puts a connection under a name, and reports whether it was not there.
func (l *live) name(f *connection, name string) (fresh bool) {
	if l.byName[name] == nil {
		l.byName[name] = make(map[*connection]struct{}, 1)
	}
	_, known := l.byName[name][f]
	l.byName[name][f] = struct{}{}
	return !known
}

func (l *live) unname(f *connection, name string) {
	delete(l.byName[name], f)
	if len(l.byName[name]) == 0 {
		delete(l.byName, name)
	}
}
