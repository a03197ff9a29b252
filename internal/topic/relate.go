package topic

import "strings"

// Contains reports whether outer matches every name that inner matches. It is false if
// one of them is not valid.
func Contains(outer, inner string) bool {
	outer, inner, ok := plainPair(outer, inner)
	if !ok || startsWild(outer) && inner[0] == '$' {
		return false
	}
	for {
		o, outerRest, outerMore := strings.Cut(outer, "/")
		i, innerRest, innerMore := strings.Cut(inner, "/")
		switch {
		case o == "#":
			return true
		case i == "#", o != "+" && o != i:
			return false
		case !innerMore:
			return !outerMore || outerRest == "#"
		case !outerMore:
			return false
		}
		outer, inner = outerRest, innerRest
	}
}

// Overlap reports whether some name matches both a and b. It is false if one of them is
// not valid. The limit of 65,535 bytes is not applied to the common name: two filters
// that only a longer one matches overlap.
func Overlap(a, b string) bool {
	a, b, ok := plainPair(a, b)
	if !ok || startsWild(a) && b[0] == '$' || startsWild(b) && a[0] == '$' {
		return false
	}
	for {
		x, aRest, aMore := strings.Cut(a, "/")
		y, bRest, bMore := strings.Cut(b, "/")
		switch {
		case x == "#", y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !aMore:
			return !bMore || bRest == "#"
		case !bMore:
			return aRest == "#"
		}
		a, b = aRest, bRest
	}
}

// plainPair takes the "$share/group/" off both filters; ok is false if one of them is
// not valid.
func plainPair(a, b string) (plainA, plainB string, ok bool) {
	if !ValidFilter(a) || !ValidFilter(b) {
		return "", "", false
	}
	return spellOut(Unshare(a)), spellOut(Unshare(b)), true
}

// spellOut returns a filter for the same names whose "#" may stand for no level. In two
// filters it cannot as they are: a name has at least one level, and a single empty level
// is not a name.
func spellOut(filter string) string {
	switch filter {
	case "#":
		return "+/#"
	case "/#":
		return "/+/#"
	}
	return filter
}
