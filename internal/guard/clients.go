package guard

import (
	"sync"
	"time"
)

// forever is the expiry of an MQTT session that does not end by itself.
const forever time.Duration = -1

// clients remembers to whom each Client Identifier belongs, as long as a session of it may exist at the broker.
type clients struct {
	limit int

	mu    sync.Mutex
	byID  map[string]client
	swept time.Time
}

// client is a Client Identifier with an MQTT session.
type client struct {
	identity      string
	session       *Session            // nil: not connected
	until         time.Time           // when not connected: end of the MQTT session; zero is never
	subscriptions map[string]struct{} // when not connected: Topic Filters
}

// claim gives the identifier to the session s and returns what was known of it before, the zero client if nothing. It
// refuses when the identifier is somebody else's, or when there are too many.
func (c *clients) claim(id string, s *Session, identity string, now time.Time) (before client, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.byID[id]
	if known && before.over(now) {
		delete(c.byID, id)
		before, known = client{}, false
	}
	// A client that is nobody in particular gives way.
	if known && before.identity != identity && before.identity != "" {
		return client{}, errForeign
	}
	if !known && len(c.byID) >= c.limit {
		c.sweep(now)
		if len(c.byID) >= c.limit {
			return client{}, errFull
		}
	}
	if c.byID == nil {
		c.byID = make(map[string]client)
	}
	c.byID[id] = client{identity: identity, session: s}
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
		delete(c.byID, id)
	default:
		after.session = nil
		c.byID[id] = after
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
			delete(c.byID, id)
		}
	}
}
