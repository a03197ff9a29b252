package topic

// Match reports whether filter matches the topic name. The name must be valid: a
// wildcard in it is not looked for.
func Match[T string | []byte](filter string, name T) bool {
	if len(name) == 0 || len(filter) == 0 || len(filter) > maxLength {
		return false
	}
	switch {
	case filter[0] == '$':
		plain, ok := unshare(filter)
		if !ok {
			return false
		}
		return matchLevels(plain, name) && !(startsWild(plain) && name[0] == '$')
	case name[0] == '$' && startsWild(filter):
		return false
	}
	return matchLevels(filter, name)
}

// matchLevels is Match without the rules about "$". It goes from level to level; a
// wildcard that is not alone in its level is compared with the name as it stands, where
// a valid name has none.
func matchLevels[T string | []byte](filter string, name T) bool {
	f, n := 0, 0 // a level begins here
	for {
		if filter[f:] == "#" {
			return true
		}
		if plusLevel(filter[f:]) {
			f++
			for n < len(name) && name[n] != '/' {
				n++
			}
		}
		for f < len(filter) && filter[f] != '/' {
			if n == len(name) || name[n] != filter[f] {
				return false
			}
			f++
			n++
		}
		if n == len(name) {
			// "a/#" matches its parent level "a".
			return f == len(filter) || filter[f:] == "/#"
		}
		if name[n] != '/' || f == len(filter) {
			return false
		}
		f++
		n++
	}
}

// plusLevel reports whether the first level of filter is "+".
func plusLevel(filter string) bool {
	return len(filter) > 0 && filter[0] == '+' && (len(filter) == 1 || filter[1] == '/')
}
