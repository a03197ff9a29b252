package topic

import "strings"

// Tree finds, among many filters, those that match a name or have names in common with a filter, at a cost that grows
// with the number of levels and hardly with that of filters. A filter stands for a value; a shared subscription for the
// filter in it. The zero value is empty. It may be searched by several goroutines while nobody adds.
type Tree[V any] struct {
	root branch[V]
}

// branch is a place in a Tree: what filters have in common up to some level.
type branch[V any] struct {
	level  string                // the next one, "+" apart, while there is no other
	next   *branch[V]            // below that
	levels map[string]*branch[V] // below the next levels, once they are several
	plus   *branch[V]
	here   []V // of filters that end here
	hash   []V // of filters that go on with "#"
}

// Add puts a filter in, which must be valid, any number of times with different values.
func (t *Tree[V]) Add(filter string, v V) {
	b, rest := &t.root, spellOut(Unshare(filter))
	for more := true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#":
			b.hash = append(b.hash, v)
			return
		case level == "+":
			if b.plus == nil {
				b.plus = new(branch[V])
			}
			b = b.plus
		default:
			b = b.grow(level)
		}
	}
	b.here = append(b.here, v)
}

// grow returns the branch below a level, made if it is not there.
func (b *branch[V]) grow(level string) *branch[V] {
	next := b.find(level)
	if next != nil {
		return next
	}
	next = new(branch[V])
	switch {
	case b.levels != nil:
		b.levels[level] = next
	case b.next == nil:
		b.level, b.next = level, next
	default:
		b.levels = map[string]*branch[V]{b.level: b.next, level: next}
		b.level, b.next = "", nil
	}
	return next
}

// find returns the branch below a level, nil if there is none.
func (b *branch[V]) find(level string) *branch[V] {
	if b.next != nil && b.level == level {
		return b.next
	}
	return b.levels[level]
}

// each yields the branches below all levels, "+" apart.
func (b *branch[V]) each(yield func(level string, next *branch[V]) bool) {
	if b.next != nil && !yield(b.level, b.next) {
		return
	}
	for level, next := range b.levels {
		if !yield(level, next) {
			return
		}
	}
}

// Match appends to found the values of the filters that match the topic name, which must be valid, in no order.
func (t *Tree[V]) Match(found []V, name []byte) []V {
	if len(name) == 0 {
		return found
	}
	return t.root.match(found, name, true, name[0] == '$')
}

// match goes on with the levels of name; more is false when there are none left. special is true at the first level of
// a name that begins with $, which wildcards do not match.
func (b *branch[V]) match(found []V, name []byte, more, special bool) []V {
	if !special {
		found = append(found, b.hash...)
	}
	if !more {
		return append(found, b.here...)
	}
	end := 0
	for end < len(name) && name[end] != '/' {
		end++
	}
	level, rest, more := name[:end], name[end:], end < len(name)
	if more {
		rest = rest[1:]
	}
	next := b.next
	if next == nil || b.level != string(level) {
		next = b.levels[string(level)]
	}
	if next != nil {
		found = next.match(found, rest, more, false)
	}
	if b.plus != nil && !special {
		found = b.plus.match(found, rest, more, false)
	}
	return found
}

// Overlapping appends to found the values of the filters that some name matches which filter matches too, as Overlap
// says. filter must be valid.
func (t *Tree[V]) Overlapping(found []V, filter string) []V {
	filter = spellOut(Unshare(filter))
	return t.root.overlapping(found, filter, true, true)
}

func (b *branch[V]) overlapping(found []V, filter string, more, first bool) []V {
	special := first && filter[0] == '$'
	if !special {
		found = append(found, b.hash...)
	}
	if !more {
		return append(found, b.here...)
	}
	level, rest, more := strings.Cut(filter, "/")
	switch level {
	case "#":
		return b.below(append(found, b.here...))
	case "+":
		for name, next := range b.each {
			if !first || !strings.HasPrefix(name, "$") {
				found = next.overlapping(found, rest, more, false)
			}
		}
	default:
		if next := b.find(level); next != nil {
			found = next.overlapping(found, rest, more, false)
		}
	}
	if b.plus != nil && !special {
		found = b.plus.overlapping(found, rest, more, false)
	}
	return found
}

// below appends all values below b, but those of its own.
func (b *branch[V]) below(found []V) []V {
	for _, next := range b.each {
		found = next.below(append(append(found, next.hash...), next.here...))
	}
	if b.plus != nil {
		found = b.plus.below(append(append(found, b.plus.hash...), b.plus.here...))
	}
	return found
}
