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
	return t <= l.upTo || l.coversAside(t)
}

// coversAside is covers without what upTo covers.
func (l *lost) coversAside(t uint32) bool {
	if t == 0 {
		return l.dark
	}
	return l.from <= t && t <= l.to
}

// add puts a forgotten session in; limit is the latest time that is not the future.
func (l *lost) add(s *session, limit uint32) {
	l.dark = l.dark || s.dark
	switch {
	case s.last == 0:
	case s.last <= limit:
		l.upTo = max(l.upTo, s.last)
	default:
		l.span(s.least, s.last)
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
