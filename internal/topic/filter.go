// Package topic answers questions about MQTT topic names and topic filters: is one
// valid, does a filter match a name, does it cover another filter, have two filters
// a name in common. A session asks them before it seals under a key, and a broker's
// guard before it lets a client publish or subscribe, so the answers are exact.
//
// The rules are those of OASIS MQTT 5.0, sections 4.7 and 4.8.2, which are the same in
// 3.1.1 but for the shared subscriptions:
//
//   - "+" stands for exactly one level, also an empty one; "#" stands for any number
//     of levels, also none, so that "a/#" matches "a".
//   - A filter that begins with a wildcard matches no name that begins with "$"
//     (4.7.2): "#" does not match "$SYS/uptime".
//   - "$share/group/f" is a subscription to f in which a group takes turns (4.8.2). All
//     functions but [ValidName] judge it as f. A filter that begins with "$share/" and
//     is not of this form is not valid.
//
// Match is meant for every message: it allocates nothing and looks at each byte at most
// once. A filter that is not valid matches no valid name, covers nothing and overlaps
// nothing.
//
// Text is compared byte by byte, with no normalisation (MQTT5 1.5.4), and whether it is
// UTF-8 is not checked.
package topic

import "strings"

// maxLength is the largest length in bytes of a topic name or filter (MQTT5 4.7.3).
const maxLength = 65535

const sharePrefix = "$share/"

// ValidName reports whether name can be the topic of a message: 1 to 65,535 bytes, no
// U+0000, no wildcard (MQTT5 4.7.1, 4.7.3).
func ValidName[T string | []byte](name T) bool {
	if len(name) < 1 || len(name) > maxLength {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c == '+' || c == '#' || c == 0 {
			return false
		}
	}
	return true
}

// ValidFilter reports whether filter can be subscribed to: 1 to 65,535 bytes, no
// U+0000, wildcards alone in their level, "#" only as the last one; and if it begins
// with "$share/", a group name without wildcards and a filter behind it (MQTT5 4.7.1,
// 4.7.3, 4.8.2).
func ValidFilter(filter string) bool {
	if len(filter) > maxLength {
		return false
	}
	plain, ok := unshare(filter)
	return ok && validPlain(plain)
}

// validPlain is ValidFilter for a filter without the "$share/group/".
func validPlain(filter string) bool {
	if len(filter) < 1 || len(filter) > maxLength {
		return false
	}
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		switch {
		case level == "+":
		case level == "#":
			if more {
				return false
			}
		case strings.ContainsAny(level, "+#\x00"):
			return false
		}
	}
	return true
}

// Unshare returns the filter behind "$share/group/", or filter itself if it is not a
// shared subscription or not a valid one.
func Unshare(filter string) string {
	if plain, ok := unshare(filter); ok {
		return plain
	}
	return filter
}

// unshare is Unshare; ok is false for what begins with "$share/" but has no group or no
// filter behind it. A second "$share/" there is refused too: the standard does not say
// what it means, and a server may take it for either.
func unshare(filter string) (plain string, ok bool) {
	rest, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		return filter, true
	}
	group, plain, _ := strings.Cut(rest, "/")
	switch {
	case group == "", strings.ContainsAny(group, "+#\x00"):
		return filter, false
	case plain == "", strings.HasPrefix(plain, sharePrefix):
		return filter, false
	}
	return plain, true
}

// Prefix returns how many levels of filter stand before its first wildcard, and those
// levels joined. The number tells "/+", whose prefix is one empty level, from "+", which
// has none.
func Prefix(filter string) (levels int, prefix string) {
	plain := Unshare(filter)
	for rest := plain; ; levels++ {
		level, tail, more := strings.Cut(rest, "/")
		if level == "+" || level == "#" {
			return levels, strings.TrimSuffix(plain[:len(plain)-len(rest)], "/")
		}
		if !more {
			return levels + 1, plain
		}
		rest = tail
	}
}

// startsWild reports whether filter begins with a wildcard, and so matches no name that
// begins with "$" (MQTT5 4.7.2).
func startsWild(filter string) bool {
	return len(filter) > 0 && (filter[0] == '+' || filter[0] == '#')
}
