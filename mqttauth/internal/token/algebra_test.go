package token

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// allFilters lists the filters of at most depth levels over a small alphabet.
func allFilters(depth int) (filters []string) {
	var grow func(prefix []string)
	grow = func(prefix []string) {
		for _, level := range []string{"a", "b", "", "+", "#", "$x"} {
			levels := append(prefix[:len(prefix):len(prefix)], level)
			if f := strings.Join(levels, "/"); topic.ValidFilter(f) {
				filters = append(filters, f)
			}
			if level != "#" && len(levels) < depth {
				grow(levels)
			}
		}
	}
	grow(nil)
	return filters
}

// allNames lists the topic names of at most depth levels, one level of which no filter names.
func allNames(depth int) (names []string) {
	var grow func(prefix []string)
	grow = func(prefix []string) {
		for _, level := range []string{"a", "b", "", "$x", "other"} {
			levels := append(prefix[:len(prefix):len(prefix)], level)
			if n := strings.Join(levels, "/"); topic.ValidName(n) {
				names = append(names, n)
			}
			if len(levels) < depth {
				grow(levels)
			}
		}
	}
	grow(nil)
	return names
}

// matches is MQTT5 4.7 written down a second time, as plainly as it can be.
func matches(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if strings.HasPrefix(name, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(n) {
			return false
		}
		if level != "+" && level != n[i] {
			return false
		}
		if i+1 == len(n) && i+2 == len(f) && f[i+1] == "#" {
			return true
		}
	}
	return len(f) == len(n)
}

// TestIssuedFiltersAgainstBruteForce: for every claim and every filter of two levels over a small alphabet, a token
// is made only if the claim matches each name that the filter matches, and is made whenever that is so and the filter
// names more levels than the claim or is the claim itself. A made token opens at the authority for its own filter.
func TestIssuedFiltersAgainstBruteForce(t *testing.T) {
	filters, names := allFilters(2), allNames(3)
	matched := make(map[string][]bool)
	for _, f := range filters {
		set := make([]bool, len(names))
		for i, n := range names {
			set[i] = matches(f, n)
		}
		matched[f] = set
	}
	within := func(outer, inner string) bool {
		for i, in := range matched[inner] {
			if in && !matched[outer][i] {
				return false
			}
		}
		return true
	}
	for i, claim := range filters {
		o := testOwner(t, claim, byte(i))
		r := roots(t, o)
		for _, filter := range filters {
			tok, err := o.Issue(Terms{Kind: Auth1, Filter: filter, Expires: later})
			named, _ := topic.Prefix(filter)
			own, _ := topic.Prefix(claim)
			want := claim == filter || named > own && within(claim, filter)
			require.Equal(t, want, err == nil, "%q under %q", filter, claim)
			if err != nil {
				continue
			}
			p := tok.Present(binding)
			_, err = r.Verify(1, &p, binding, now)
			require.NoError(t, err, "%q under %q", filter, claim)
		}
	}
}

// TestATokenIsForOneFilter: presented for any other filter of the same claim, a token is refused; and so it is
// presented to the roots of another claim under that claim's filter.
func TestATokenIsForOneFilter(t *testing.T) {
	o := testOwner(t, "a/#", 1)
	r := roots(t, o)
	other := roots(t, testOwner(t, "a/#", 2))
	filters := allFilters(3)
	for _, filter := range []string{"a/#", "a/b", "a/b/#", "a/b/+", "a/"} {
		tok := issue(t, o, Auth2, filter)
		for _, claimed := range filters {
			p := tok.Present(binding)
			p.terms.filter = claimed
			_, err := r.Verify(1, &p, binding, now)
			require.Equal(t, claimed == filter, err == nil, "%q presented as %q", filter, claimed)
			_, err = other.Verify(1, &p, binding, now)
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
}
