package guard

import (
	"crypto/sha256"
	"sync"
	"time"
)

// retained remembers until when the retained messages of topics may be seen whose lifetime the broker does not know.
// It has nothing to say of a topic that it does not know. What it remembers it remembers until somebody publishes anew,
// for the broker may have the message as long.
type retained struct {
	limit int // topics, in all
	each  int // of one identity

	mu     sync.Mutex
	topics map[named]seen
	owned  map[string]int // by identity: topics, and places that are kept
	kept   int
}

// named is what is remembered of a topic's name, which itself may have 64 KiB.
type named [sha256.Size]byte

// seen is what is known of a topic's retained message: until when it may be seen, and whose it is.
type seen struct {
	until    time.Time
	identity string
}

// set notes that name has a retained message of an identity's now that may be seen until then. It reports false if it
// cannot remember another topic.
func (r *retained) set(name []byte, identity string, until time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.setLocked(sha256.Sum256(name), seen{until, identity})
}

func (r *retained) setLocked(topic named, to seen) bool {
	was, known := r.topics[topic]
	if (!known || was.identity != to.identity) && r.owned[to.identity] >= r.each || !known && len(r.topics)+r.kept >= r.limit {
		return false
	}
	r.forgetLocked(topic)
	if r.topics == nil {
		r.topics = make(map[named]seen)
	}
	r.topics[topic] = to
	r.own(to.identity, 1)
	return true
}

// keep keeps a place for a topic of an identity's that is to be set later. It reports false if there is none.
func (r *retained) keep(identity string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owned[identity] >= r.each || len(r.topics)+r.kept >= r.limit {
		return false
	}
	r.kept++
	r.own(identity, 1)
	return true
}

// take is set in the place that was kept; without a name the place is only given back.
func (r *retained) take(name []byte, identity string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept--
	r.own(identity, -1)
	if name != nil {
		r.setLocked(sha256.Sum256(name), seen{until, identity})
	}
}

// forget notes that name has no retained message, or one whose lifetime the broker knows.
func (r *retained) forget(name []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(sha256.Sum256(name))
}

func (r *retained) forgetLocked(topic named) {
	if was, known := r.topics[topic]; known {
		delete(r.topics, topic)
		r.own(was.identity, -1)
	}
}

// own counts what an identity has.
func (r *retained) own(identity string, more int) {
	if r.owned == nil {
		r.owned = make(map[string]int)
	}
	if r.owned[identity] += more; r.owned[identity] == 0 {
		delete(r.owned, identity)
	}
}

// over tells whether the retained message of name is not to be seen any more.
func (r *retained) over(name []byte, now time.Time) bool {
	topic := named(sha256.Sum256(name))
	r.mu.Lock()
	defer r.mu.Unlock()
	of, known := r.topics[topic]
	return known && !now.Before(of.until)
}
