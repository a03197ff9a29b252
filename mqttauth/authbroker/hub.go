package authbroker

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"
)

// change is a record that is another one than before: what grants hang on.
type change struct {
	Bucket string `json:"b"`
	Key    []byte `json:"k"`
}

// heard is what has changed in a store since somebody asked last.
type heard struct {
	Boot    string   `json:"boot"` // of the process that has the store
	At      uint64   `json:"at"`   // how many changes there have been
	Missed  bool     `json:"missed,omitempty"`
	Changes []change `json:"changes,omitempty"` // those since, unless some are Missed
}

// question is what has been heard, and for how long to wait for more: hubWait at most.
type question struct {
	Boot string        `json:"boot"`
	At   uint64        `json:"at"`
	Wait time.Duration `json:"wait"`
}

const (
	hubSize = 4096             // changes that are kept for those who listen
	hubWait = 10 * time.Second // for a change, at most, before the answer is that there is none
)

// hub tells listeners what changes in a store.
type hub struct {
	boot string

	mu    sync.Mutex
	at    uint64
	last  []change // the last ones
	woken chan struct{}
}

func newHub() *hub { return &hub{boot: rand.Text(), woken: make(chan struct{})} }

func (h *hub) tell(changes []change) {
	if len(changes) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at += uint64(len(changes))
	h.last = append(h.last, changes...)
	if excess := len(h.last) - hubSize; excess > 0 {
		h.last = append([]change(nil), h.last[excess:]...)
	}
	close(h.woken)
	h.woken = make(chan struct{})
}

// since returns what has changed since the last answer; it waits for something to do so.
func (h *hub) since(ctx context.Context, last question) heard {
	timeout := time.NewTimer(min(last.Wait, hubWait))
	defer timeout.Stop()
	for {
		next, woken := h.look(last)
		if next.Missed || len(next.Changes) > 0 {
			return next
		}
		select {
		case <-woken:
		case <-timeout.C:
			return next
		case <-ctx.Done():
			return next
		}
	}
}

func (h *hub) look(last question) (next heard, woken <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next = heard{Boot: h.boot, At: h.at}
	first := h.at - uint64(len(h.last))
	if last.Boot != h.boot || last.At < first || last.At > h.at {
		next.Missed = true
	} else {
		next.Changes = append([]change(nil), h.last[last.At-first:]...)
	}
	return next, h.woken
}

// telling is a backend that tells a hub what grants hang on.
type telling struct {
	backend
	hub *hub
}

func (w telling) update(f func(tx) error) error {
	var changes []change
	err := w.backend.update(func(t tx) error {
		noted := &tellingTx{tx: t}
		err := f(noted)
		changes = noted.changes // of the last time, if this runs more than once
		return err
	})
	if err == nil {
		w.hub.tell(changes)
	}
	return err
}

type tellingTx struct {
	tx
	changes []change
}

func (t *tellingTx) put(bucket, key string, value []byte) error {
	t.note(bucket, key)
	return t.tx.put(bucket, key, value)
}

func (t *tellingTx) remove(bucket, key string) error {
	t.note(bucket, key)
	return t.tx.remove(bucket, key)
}

func (t *tellingTx) note(bucket, key string) {
	switch bucket {
	case bucketUsers, bucketClaims, bucketRevoked, bucketGrants:
	case bucketMeta:
		if !strings.HasPrefix(key, endedPrefix) {
			return
		}
	default:
		return
	}
	t.changes = append(t.changes, change{bucket, []byte(key)})
}
