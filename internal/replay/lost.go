package replay

// lost sums up what has been forgotten at and below a node: every message up to a time, those in an interval that lay
// in the future, and those without a clock.
type lost struct {
	upTo     uint32 // 0 if none
	from, to uint32 // 0 if there is no interval
	dark     bool
}

// covers says that a message of this time may be one of the forgotten.
func (l *lost) covers(t uint32) bool {
	if t == 0 {
		return l.dark
	}
	return t <= l.upTo || l.from <= t && t <= l.to
}

// add puts a forgotten session in. Its times count as of the future if the last of them is; now is 0 for a receiver
// without a clock.
func (l *lost) add(s *session, now uint32) {
	l.dark = l.dark || s.dark
	switch {
	case s.last == 0:
	case s.last <= now || now == 0:
		l.upTo = max(l.upTo, s.last)
	default:
		l.span(s.least, s.last)
	}
}

// settle makes an interval that has passed part of what lies up to a time.
func (l *lost) settle(now uint32) {
	if l.to > 0 && l.to <= now {
		l.upTo = max(l.upTo, l.to)
		l.from, l.to = 0, 0
	}
}

// merge puts what a forgotten child had lost in.
func (l *lost) merge(child *lost) {
	l.dark = l.dark || child.dark
	l.upTo = max(l.upTo, child.upTo)
	if child.to > 0 {
		l.span(child.from, child.to)
	}
}

func (l *lost) span(from, to uint32) {
	if l.to == 0 {
		l.from = from
	}
	l.from, l.to = min(l.from, from), max(l.to, to)
}
