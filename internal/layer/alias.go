package layer

import (
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Aliases follows the topic aliases of one direction of a v5 connection (MQTT 5, 3.3.2.3.4), so that a filter knows the
// topic of each PUBLISH, and mends what withholding one would break: the receiver of an alias that never saw its topic
// gets it with the next PUBLISH. The zero value is ready. It is not safe for concurrent use.
type Aliases struct {
	topics map[uint16]*aliased
	size   int // of all topics, bytes
}

// maxAliased is how many bytes the topics behind the aliases of one direction may have: 64 each if all 65,535 are in
// use. Some servers grant as many to whoever comes, and a topic may have 64 KiB.
const maxAliased = 4 << 20

var errAliased = errors.New("layer: topic aliases stand for too much")

type aliased struct {
	topic []byte
	told  bool // a PUBLISH with alias and topic passed
}

// Resolve returns the topic of m, which is m.Topic or what its alias stands for, and whether m must carry that topic
// although it came without, because the receiver has not seen it. Aliases above limit, and unknown ones, are malformed;
// those that stand for more than 4 MiB of topics are an error. The topic stays valid until the alias is set again.
func (a *Aliases) Resolve(m *wire.PublishPacket, limit uint16) (topic []byte, tell bool, err error) {
	id, ok := m.Properties.Uint(wire.TopicAlias)
	if !ok {
		if len(m.Topic) == 0 {
			return nil, false, fmt.Errorf("%w: PUBLISH without a topic", wire.ErrMalformed)
		}
		return m.Topic, false, nil
	}
	if id == 0 || id > uint32(limit) {
		return nil, false, fmt.Errorf("%w: topic alias %d of at most %d", wire.ErrMalformed, id, limit)
	}
	known := a.topics[uint16(id)]
	if len(m.Topic) == 0 {
		if known == nil {
			return nil, false, fmt.Errorf("%w: unknown topic alias %d", wire.ErrMalformed, id)
		}
		return known.topic, !known.told, nil
	}
	if known == nil {
		if a.topics == nil {
			a.topics = make(map[uint16]*aliased)
		}
		known = new(aliased)
		a.topics[uint16(id)] = known
	}
	before := cap(known.topic)
	known.topic, known.told = append(known.topic[:0], m.Topic...), false
	if a.size += cap(known.topic) - before; a.size > maxAliased {
		return nil, false, errAliased
	}
	return known.topic, false, nil
}

// Passed tells that m, with a topic if it sets an alias, was not withheld.
func (a *Aliases) Passed(m *wire.PublishPacket) {
	if len(a.topics) == 0 || len(m.Topic) == 0 {
		return
	}
	if id, ok := m.Properties.Uint(wire.TopicAlias); ok {
		if known := a.topics[uint16(id)]; known != nil {
			known.told = true
		}
	}
}
