package topic

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The oracle: MQTT5 4.7 written down as plainly as possible, over lists of levels.

var validFilter = regexp.MustCompile(`^(?s:([^+#/\x00]*|\+)/)*(?s:[^+#/\x00]*|\+|#)$`)

func oracleMatch(filter, name string) bool {
	if filter == "" || !validFilter.MatchString(filter) {
		return false
	}
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	var levels func(f, n []string) bool
	levels = func(f, n []string) bool {
		switch {
		case len(f) == 0:
			return len(n) == 0
		case f[0] == "#":
			return true
		case len(n) == 0:
			return false
		}
		return (f[0] == "+" || f[0] == n[0]) && levels(f[1:], n[1:])
	}
	return levels(strings.Split(filter, "/"), strings.Split(name, "/"))
}

// paths returns all strings of 1 to depth levels from the alphabet, but "".
func paths(depth int, alphabet ...string) (all []string) {
	row := []string{""}
	for d := range depth {
		var next []string
		for _, head := range row {
			for _, level := range alphabet {
				if d == 0 {
					next = append(next, level)
				} else {
					next = append(next, head+"/"+level)
				}
			}
		}
		all, row = append(all, next...), next
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// set is a set of indices.
type set []uint64

func (s set) empty() bool { return !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 }) }

func (s set) within(t set) bool {
	for i := range s {
		if s[i]&^t[i] != 0 {
			return false
		}
	}
	return true
}

func (s set) meets(t set) bool {
	for i := range s {
		if s[i]&t[i] != 0 {
			return true
		}
	}
	return false
}

// TestBruteForce compares Match, Contains and Overlap for all filters and pairs of
// filters over a small alphabet with what the names that they match say. The names have
// a level that is in no filter and one level more than any filter, which is enough to
// tell "+" from the literals and "#" from everything finite.
func TestBruteForce(t *testing.T) {
	depth := 4
	if testing.Short() || raceDetector {
		depth = 3 // nothing here is concurrent
	}
	names := paths(depth+1, "a", "b", "$x", "", "z")
	var filters []string
	var matched []set
	for _, f := range paths(depth, "a", "b", "$x", "", "+", "#") {
		m := make(set, (len(names)+63)/64)
		for i, n := range names {
			want := oracleMatch(f, n)
			if got := Match(f, n); got != want {
				t.Fatalf("Match(%q, %q) = %v", f, n, got)
			}
			if want {
				m[i/64] |= 1 << (i % 64)
			}
		}
		if !ValidFilter(f) {
			if !m.empty() || Contains(f, f) || Contains("#", f) || Contains(f, "a") || Overlap(f, f) || Overlap(f, "#") || Overlap("#", f) {
				t.Fatalf("%q is not valid", f)
			}
			continue
		}
		require.False(t, m.empty(), "%q", f)
		filters, matched = append(filters, f), append(matched, m)
	}
	for i, a := range filters {
		for j, b := range filters {
			if got := Contains(a, b); got != matched[j].within(matched[i]) {
				t.Fatalf("Contains(%q, %q) = %v", a, b, got)
			}
			if got := Overlap(a, b); got != matched[i].meets(matched[j]) {
				t.Fatalf("Overlap(%q, %q) = %v", a, b, got)
			}
		}
	}
}

// TestBruteForceShared checks on a smaller set that a shared subscription is judged as
// what is shared.
func TestBruteForceShared(t *testing.T) {
	filters := paths(2, "a", "$x", "", "+", "#")
	names := paths(3, "a", "$x", "", "z")
	for _, a := range filters {
		shared := "$share/g/" + a
		require.Equal(t, ValidFilter(a), ValidFilter(shared), "%q", shared)
		for _, n := range names {
			require.Equal(t, Match(a, n), Match(shared, n), "%q, %q", shared, n)
		}
		for _, b := range filters {
			require.Equal(t, Contains(a, b), Contains(shared, b))
			require.Equal(t, Contains(a, b), Contains(a, "$share/h/"+b))
			require.Equal(t, Contains(a, b), Contains(shared, "$share/h/"+b))
			require.Equal(t, Overlap(a, b), Overlap(shared, b))
			require.Equal(t, Overlap(a, b), Overlap(a, "$share/h/"+b))
		}
	}
}

// FuzzFilters checks any strings against the oracle and the three relations against
// each other.
func FuzzFilters(f *testing.F) {
	f.Add("a/+/#", "a/b", "a/b/c")
	f.Add("$share/g/a", "+/#", "a")
	f.Add("#", "$SYS/#", "$SYS/x")
	f.Add("$share/g", "a\x00", "//")
	f.Add("a#", "+a/", "a")
	f.Fuzz(func(t *testing.T, a, b, name string) {
		for _, filter := range []string{a, b} {
			plain := Unshare(filter)
			if plain == filter && !strings.HasPrefix(filter, "$share/") && len(filter) <= maxLength {
				require.Equal(t, filter != "" && validFilter.MatchString(filter), ValidFilter(filter))
			}
			if levels, prefix := Prefix(filter); levels > 0 {
				require.True(t, strings.HasPrefix(plain, prefix))
				require.Equal(t, levels, 1+strings.Count(prefix, "/"))
			}
			if !ValidName(name) {
				continue
			}
			if ValidFilter(filter) {
				require.Equal(t, oracleMatch(plain, name), Match(filter, name))
			} else {
				require.False(t, Match(filter, name))
			}
			require.Equal(t, Match(filter, name), Match(filter, []byte(name)))
		}
		require.Equal(t, ValidFilter(a), Contains(a, a))
		require.Equal(t, Overlap(a, b), Overlap(b, a))
		if Contains(a, b) {
			require.True(t, Overlap(a, b))
		}
		if !ValidName(name) {
			return
		}
		if Contains(a, b) && Match(b, name) {
			require.True(t, Match(a, name))
		}
		if Match(a, name) && Match(b, name) {
			require.True(t, Overlap(a, b))
		}
	})
}
