package topic

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tree says what Match and Overlap say, for every filter and name of a few levels.
func TestTree(t *testing.T) {
	levels := []string{"", "a", "b", "$x", "+"}
	var filters, names []string
	var grow func(prefix string, depth int)
	grow = func(prefix string, depth int) {
		for _, f := range []string{prefix, prefix + "/#"} {
			if ValidFilter(f) {
				filters = append(filters, f)
			}
			if ValidName(f) {
				names = append(names, f)
			}
		}
		if depth < 3 {
			for _, l := range levels {
				grow(prefix+"/"+l, depth+1)
			}
		}
	}
	for _, l := range levels {
		grow(l, 1)
	}
	filters = append(filters, "#", "$share/g/a/+", "$share/g/#")
	var tree Tree[string]
	for _, f := range filters {
		tree.Add(f, f)
	}
	for _, name := range names {
		var want []string
		for _, f := range filters {
			if Match(f, name) {
				want = append(want, f)
			}
		}
		require.ElementsMatch(t, want, tree.Match(nil, []byte(name)), "%q", name)
	}
	for _, filter := range filters {
		var want []string
		for _, f := range filters {
			if Overlap(f, filter) {
				want = append(want, f)
			}
		}
		got := tree.Overlapping(nil, filter)
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got, "%q", filter)
	}
	require.Empty(t, tree.Match(nil, nil))
	require.Empty(t, new(Tree[int]).Match(nil, []byte("a")))
	require.Empty(t, new(Tree[int]).Overlapping(nil, "#"))
}

// TestTreeOfFew: so it does of one filter, and of two, where most branches have nothing beside them.
func TestTreeOfFew(t *testing.T) {
	filters := []string{"a", "b", "a/b", "a/$x", "$x/b", "$x", "/a", "a/+", "+/b", "+", "#", "a/#", "$x/#", "+/#", "/#"}
	for _, first := range filters {
		for _, second := range filters {
			var tree Tree[string]
			tree.Add(first, first)
			tree.Add(second, second)
			for _, filter := range filters {
				var matching, overlapping []string
				for _, f := range []string{first, second} {
					if Match(f, filter) {
						matching = append(matching, f)
					}
					if Overlap(f, filter) {
						overlapping = append(overlapping, f)
					}
				}
				require.ElementsMatch(t, overlapping, tree.Overlapping(nil, filter), "%q, %q, %q", first, second, filter)
				if ValidName(filter) {
					require.ElementsMatch(t, matching, tree.Match(nil, []byte(filter)), "%q, %q, %q", first, second, filter)
				}
			}
		}
	}
}

func TestTreeAllocatesNothing(t *testing.T) {
	var tree Tree[int]
	for i := range 1000 {
		tree.Add(fmt.Sprintf("site/%d/#", i), i)
	}
	found, name := make([]int, 0, 4), []byte("site/7/temp")
	require.Zero(t, testing.AllocsPerRun(100, func() { found = tree.Match(found[:0], name) }))
	require.Equal(t, []int{7}, found)
}
