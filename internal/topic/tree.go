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
	levels map[string]*branch[V] // by the next level, "+" apart
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
			next := b.levels[level]
			if next == nil {
				if b.levels == nil {
					b.levels = make(map[string]*branch[V])
				}
				next = new(branch[V])
				b.levels[level] = next
			}
			b = next
		}
	}
	b.here = append(b.here, v)
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
	if next := b.levels[string(level)]; next != nil {
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
		for name, next := range b.levels {
			if !first || !strings.HasPrefix(name, "$") {
				found = next.overlapping(found, rest, more, false)
			}
		}
	default:
		if next := b.levels[level]; next != nil {
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
	for _, next := range b.levels {
		found = next.below(append(append(found, next.hash...), next.here...))
	}
	if b.plus != nil {
		found = b.plus.below(append(append(found, b.plus.hash...), b.plus.here...))
	}
	return found
}
