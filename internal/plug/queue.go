package plug

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.golang/autopaho/queue"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// errAlias is reported for a message that a queue cannot keep: what its alias stands
// for is known to one connection only.
var errAlias = errors.New("plug: a queued message must name its topic, not a Topic Alias alone")

// frozenQueue is a queue whose messages are frozen in the queue below.
type frozenQueue struct {
	queue.Queue
	frost frost
}

// Enqueue freezes the PUBLISH in r and adds it. A packet that cannot be frozen is not
// added.
func (q frozenQueue) Enqueue(r io.Reader) error {
	p, err := readPublish(r, wire.V5)
	if err != nil {
		return fmt.Errorf("plug: message not queued: %w", err)
	}
	if m, _ := wire.ParsePublish(p, wire.V5); len(m.Topic) == 0 {
		return errAlias
	}
	frozen, err := q.frost.freeze(p, true)
	if err != nil {
		return fmt.Errorf("plug: message not queued: %w", err)
	}
	return q.Queue.Enqueue(bytes.NewReader(frozen))
}

// Peek returns the oldest message, which its Reader thaws.
func (q frozenQueue) Peek() (queue.Entry, error) {
	e, err := q.Queue.Peek()
	if err != nil {
		return nil, err
	}
	return frozenEntry{Entry: e, frost: q.frost}, nil
}

// frozenEntry is a message in a frozenQueue.
type frozenEntry struct {
	queue.Entry
	frost frost
}

// Reader returns the message as it was before it was queued. If there is none because
// it does not thaw, reading says so: to autopaho such an entry is a corrupt one, which
// it puts in quarantine, while after an error here it would try it again for ever.
func (e frozenEntry) Reader() (io.Reader, error) {
	r, err := e.Entry.Reader()
	if err != nil {
		return nil, err
	}
	p, err := readPublish(r, wire.V5)
	if err != nil {
		return corrupt{err}, nil
	}
	if p, err = e.frost.thaw(p, true); err != nil {
		return corrupt{err}, nil
	}
	return bytes.NewReader(p), nil
}

// corrupt is the contents of an entry that has none.
type corrupt struct{ err error }

func (c corrupt) Read([]byte) (int, error) {
	return 0, fmt.Errorf("plug: queued message does not open: %w", c.err)
}
