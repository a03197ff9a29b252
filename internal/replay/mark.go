package replay

// mark is what was shown of a topic's retained messages.
type mark struct {
	item
	last shown
	// time is the latest of those shown, other than Wills, whose time is that of their connection. It never exceeds the
	// receiver's clock and the tolerance.
	time uint32
	// conn is the connection, and used how many times a SUBSCRIBE on it has been answered.
	conn, used uint32
}

// shown names one message.
type shown struct {
	session             [12]byte
	seq, key, publisher uint32
	will                bool
}

func shownOf(msg *Message) shown {
	return shown{msg.Session, msg.Seq, msg.Key, msg.Publisher, msg.Will}
}

func (k *mark) age() uint32 { return k.time }

// markOf returns the mark of a message's topic, nil if there is none.
func (m *Memory) markOf(msg *Message) *mark {
	n := m.nodes[realm(shownKind).place(msg.Hash)]
	if n == nil {
		return nil
	}
	return n.mark
}

// judgeRetained says whether a message that is not new may be shown as a retained one.
func (m *Memory) judgeRetained(msg *Message, how *Arrival) error {
	k := m.markOf(msg)
	if (k == nil || k.last != shownOf(msg)) && m.superseded(msg, how, k) {
		return ErrSuperseded
	}
	used := uint32(0)
	if k != nil && k.conn == how.Conn {
		used = k.used
	}
	if used >= how.asked(msg.Topic) {
		return ErrUnasked
	}
	return nil
}

// superseded says that a message, which is not the last shown, is a step back.
func (m *Memory) superseded(msg *Message, how *Arrival, k *mark) bool {
	n := m.nodes[realmOf(msg).place(msg.Hash)]
	backwards := func(stream uint32) bool {
		s := n.session(msg, stream)
		return s != nil && msg.Seq < s.shown
	}
	if backwards(0) {
		return true
	}
	for _, stream := range how.Streams {
		if backwards(stream) {
			return true
		}
	}
	if k == nil {
		return false
	}
	return msg.Will || msg.Time != 0 && uint64(msg.Time)+uint64(m.cfg.Tolerance) < uint64(k.time)
}

// show notes that a message which was published with RETAIN is delivered. makeRoom has seen to the room.
func (m *Memory) show(msg *Message, how *Arrival) {
	k := m.markOf(msg)
	if k == nil {
		k = new(mark)
		m.grow(shownKind, msg).adopt(k)
	}
	if k.conn != how.Conn {
		k.conn, k.used = how.Conn, 0
	}
	if how.Retained {
		k.used = min(k.used+1, how.asked(msg.Topic))
	}
	k.last = shownOf(msg)
	if !msg.Will {
		k.time = max(k.time, min(msg.Time, m.limit()))
	}
	k.parent.fix(int(k.place))
}
