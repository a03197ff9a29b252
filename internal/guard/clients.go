package guard

import (
	"container/list"
	"sync"
	"time"
)

// forever is the expiry of an MQTT session that does not end by itself.
const forever time.Duration = -1

// clients remembers to whom each Client Identifier belongs, as long as a session of it may exist at the broker.
type clients struct {
	limit int // in all
	each  int // of one identity

	mu     sync.Mutex
	byID   map[string]client
	owners map[string]*owner // by identity, without that of nobody
	swept  time.Time
}

// owner is an identity's share of the Client Identifiers.
type owner struct {
	count int
	idle  list.List // those without a connection, the one longest without first
}

// client is a Client Identifier with an MQTT session.
type client struct {
	identity      string
	session       *Session            // nil: not connected
	until         time.Time           // when not connected: end of the MQTT session; zero is never
	subscriptions map[string]struct{} // when not connected: Topic Filters
	place         *list.Element       // when not connected: in its owner's list
}

// put makes this what is known of an identifier.
func (c *clients) put(id string, to client) {
	c.drop(id)
	if c.byID == nil {
		c.byID, c.owners = make(map[string]client), make(map[string]*owner)
	}
	to.place = nil
	if to.identity != "" {
		o := c.owners[to.identity]
		if o == nil {
			o = new(owner)
			c.owners[to.identity] = o
		}
		o.count++
		if to.session == nil {
			to.place = o.idle.PushBack(id)
		}
	}
	c.byID[id] = to
}

// drop forgets what is known of an identifier.
func (c *clients) drop(id string) {
	was, known := c.byID[id]
	if !known {
		return
	}
	delete(c.byID, id)
	o := c.owners[was.identity]
	if o == nil {
		return
	}
	if was.place != nil {
		o.idle.Remove(was.place)
	}
	if o.count--; o.count == 0 {
		delete(c.owners, was.identity)
	}
}

// share makes room for one more identifier in an identity's share, and reports whether there is any. Who has too many
// loses hold of her own that was without a connection for longest, and of nobody else's.
func (c *clients) share(identity string) bool {
	o := c.owners[identity]
	if o == nil || o.count < c.each {
		return true
	}
	oldest := o.idle.Front()
	if oldest == nil {
		return false
	}
	c.drop(oldest.Value.(string))
	return true
}

// room makes room for one more identifier, and reports whether there is any.
func (c *clients) room(now time.Time) bool {
	if len(c.byID) >= c.limit {
		c.sweep(now)
	}
	return len(c.byID) < c.limit
}

// claim gives the identifier to the session s and returns what was known of it before, the zero client if nothing. It
// refuses when the identifier is somebody else's, or when there are too many.
func (c *clients) claim(id string, s *Session, identity string, now time.Time) (before client, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.byID[id]
	if known && before.over(now) {
		c.drop(id)
		before, known = client{}, false
	}
	// A client that is nobody in particular gives way.
	if known && before.identity != identity && before.identity != "" {
		return client{}, errForeign
	}
	if before.identity != identity && !c.share(identity) || !known && !c.room(now) {
		return client{}, errFull
	}
	c.put(id, client{identity: identity, session: s})
	return before, nil
}

// release tells that s is over, and what is to be known of its identifier from now on: after if that has an identity,
// nothing otherwise.
func (c *clients) release(id string, s *Session, after client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.byID[id].session != s:
	case after.identity == "":
		c.drop(id)
	default:
		after.session = nil
		c.put(id, after)
	}
}

// over tells whether this is the past: a client that is not connected and whose MQTT session has ended.
func (c *client) over(now time.Time) bool {
	return c.session == nil && !c.until.IsZero() && !now.Before(c.until)
}

// sweep forgets the sessions that are over. It looks at all of them, and so at most once a second.
func (c *clients) sweep(now time.Time) {
	if now.Sub(c.swept) < time.Second {
		return
	}
	c.swept = now
	for id, known := range c.byID {
		if known.over(now) {
			c.drop(id)
		}
	}
}
