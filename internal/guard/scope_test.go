package guard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/topic"
)

func scope(t testing.TB, rules ...Rule) *Scope {
	t.Helper()
	s, err := NewScope(rules)
	require.NoError(t, err)
	return s
}

// pub, sub and both make rules.
func pub(filter string) Rule  { return Rule{filter, true, false} }
func sub(filter string) Rule  { return Rule{filter, false, true} }
func both(filter string) Rule { return Rule{filter, true, true} }

// paths returns all filters or names of 1 to depth levels from the alphabet.
func paths(depth int, alphabet ...string) (all []string) {
	row := []string{""}
	for d := range depth {
		var next []string
		for _, head := range row {
			for _, level := range alphabet {
				if d > 0 {
					level = head + "/" + level
				}
				next = append(next, level)
			}
		}
		all, row = append(all, next...), next
	}
	return all
}

// TestScopeOfRulesThatBeginAlike: no rule takes another's place.
func TestScopeOfRulesThatBeginAlike(t *testing.T) {
	s := scope(t, both("a/+/b"), both("a/+/c"), both("a/x/d"), both("a/x/e"))
	for _, name := range []string{"a/y/b", "a/y/c", "a/x/d", "a/x/e"} {
		require.True(t, s.MayPublish([]byte(name)), name)
		require.True(t, s.MaySubscribe(name), name)
	}
	require.False(t, s.MayPublish([]byte("a/y/d")))
	s = scope(t, both("a"), both("b"), both("c"), both("d"))
	for _, name := range []string{"a", "b", "c", "d"} {
		require.True(t, s.MayPublish([]byte(name)), name)
	}
}

// TestScopeAgainstTopic compares a compiled scope of one rule with package topic, which is itself checked by brute
// force, for all filters over a small alphabet.
func TestScopeAgainstTopic(t *testing.T) {
	names, filters := paths(3, "a", "b", "$x", ""), paths(3, "a", "$x", "", "+", "#")
	for _, f := range filters {
		if !topic.ValidFilter(f) {
			_, err := NewScope([]Rule{both(f)})
			require.Error(t, err, "%q", f)
			continue
		}
		s := scope(t, both(f))
		for _, n := range names {
			require.Equal(t, topic.Match(f, n), s.MayPublish([]byte(n)), "%q, %q", f, n)
			require.Equal(t, topic.Match(f, n), s.MayReceive([]byte(n)), "%q, %q", f, n)
		}
		for _, r := range filters {
			require.Equal(t, topic.Contains(f, r), s.MaySubscribe(r), "%q, %q", f, r)
			require.Equal(t, topic.Contains(f, r), s.MaySubscribe("$share/g/"+r), "%q, %q", f, r)
		}
	}
}

// TestScopeSingleEntry is S-4: rules are not joined for a subscription, and permissions do not leak into each other.
func TestScopeSingleEntry(t *testing.T) {
	s := scope(t, sub("a/b"), sub("a/+/c"), sub("a"), pub("p/#"), both("x/y"))
	require.True(t, s.MaySubscribe("a/b"))
	require.True(t, s.MaySubscribe("a/+/c"))
	require.True(t, s.MaySubscribe("a/b/c"))
	require.False(t, s.MaySubscribe("a/#"), "three rules together cover some of it, none all")
	require.False(t, s.MaySubscribe("a/+"))
	require.False(t, s.MaySubscribe("p/q"))
	require.False(t, s.MayReceive([]byte("p/q")))
	require.False(t, s.MayPublish([]byte("a/b")))
	require.True(t, s.MayPublish([]byte("p")), "p/# matches its parent")
	require.True(t, s.MayPublish([]byte("x/y")) && s.MayReceive([]byte("x/y")))
	require.False(t, scope(t, sub("+")).MaySubscribe("#"))
	require.False(t, scope(t, sub("a"), sub("b")).MaySubscribe("+"))
}

// TestScopeExampleRFC9431 is the scope of RFC 9431, section 2.3.
func TestScopeExampleRFC9431(t *testing.T) {
	s := scope(t, both("topic1"), pub("topic2/#"), sub("+/topic3"))
	require.True(t, s.MayPublish([]byte("topic1")) && s.MaySubscribe("topic1"))
	require.True(t, s.MayPublish([]byte("topic2/a/b")))
	require.False(t, s.MaySubscribe("topic2/a"))
	require.True(t, s.MaySubscribe("x/topic3"))
	require.True(t, s.MaySubscribe("+/topic3"))
	require.False(t, s.MaySubscribe("$x/topic3"))
	require.False(t, s.MayPublish([]byte("x/topic3")))
}

// TestScopeIsLiteralAboutStars is S-6: "*" is no wildcard of MQTT.
func TestScopeIsLiteralAboutStars(t *testing.T) {
	s := scope(t, both("a/*"))
	require.False(t, s.MaySubscribe("a/b/*"))
	require.False(t, s.MayPublish([]byte("a/b")))
	require.True(t, s.MayPublish([]byte("a/*")))
}

// TestScopeAttacks asks for more than was granted, in every way that a filter can be spelled (attacks.md 10).
func TestScopeAttacks(t *testing.T) {
	s := scope(t, both("site/7/#"), sub("+/status"))
	for _, f := range []string{
		"#", "+", "+/#", "/#", "$SYS/#", "$SYS/status", "$share/g/#", "$share/g/+/#", "$share/g/$SYS/#", "site/#", "site/+",
		"site/+/#", "site/7", "+/7/#", "site/8", "site/7x", "site", "site/7#", "site/7/#/x", "", "$share", "$share/", "$share/g",
		"$share/g/", "$share//site/7/a", "$share/+/site/7/a", "$share/#", "$SHARE/g/site/7/a", "$Share/g/#",
		"$share/g/$share/h/site/7/a", "$queue/site/7/a", "site/7/\x00", "+/+", "+/status/#", "$x/status",
	} {
		if f == "site/7" {
			require.True(t, s.MaySubscribe(f), "the parent level")
			continue
		}
		require.False(t, s.MaySubscribe(f), "%q", f)
	}
	require.True(t, s.MaySubscribe("$share/g/site/7/+/x"))
	for _, n := range []string{"site/8", "site", "/site/7", "site/7x", "$SYS/x", "$share/g/site/7/a", "site/+", "#", "", "site/7/+", "site/7/\x00"} {
		require.False(t, s.MayPublish([]byte(n)), "%q", n)
	}
}

func TestScopeBounds(t *testing.T) {
	_, err := NewScope(make([]Rule, MaxRules+1))
	require.ErrorContains(t, err, "1025 rules")
	deep := strings.Repeat("+/", maxLevels)
	for _, f := range []string{deep + "a", "", "a#", "$share/g/a", "$share/g", "a\x00"} {
		_, err := NewScope([]Rule{both(f)})
		require.Error(t, err)
	}
	s := scope(t, both("#"))
	require.False(t, s.MaySubscribe(deep+"a"))
	require.True(t, s.MayPublish([]byte(strings.Repeat("a/", 10_000))), "\"#\" looks no deeper")
	s = scope(t, both(deep[:len(deep)-1]))
	require.False(t, s.MayPublish([]byte(strings.Repeat("a/", 10_000))))

	var none *Scope
	require.False(t, none.MayPublish([]byte("a")) || none.MayReceive([]byte("a")) || none.MaySubscribe("a"))
	require.False(t, new(Scope).MayPublish([]byte("a")) || new(Scope).MaySubscribe("a"))
}

func FuzzScope(f *testing.F) {
	f.Add("a/+/#", "$share/g/a/b", "a/b/c")
	f.Add("#", "$SYS/#", "$SYS/x")
	f.Add("+/a", "$share/g", "//")
	f.Fuzz(func(t *testing.T, a, b, name string) {
		s, err := NewScope([]Rule{both(a), sub("other/+")})
		if err != nil || topic.Overlap("other/+", b) || topic.Match("other/+", name) {
			return
		}
		if strings.Count(b, "/") < maxLevels && subscribable(b) {
			require.Equal(t, topic.Contains(a, b), s.MaySubscribe(b))
		}
		if topic.ValidName(name) && strings.Count(name, "/") < maxLevels {
			require.Equal(t, topic.Match(a, name), s.MayPublish([]byte(name)))
		}
	})
}

func BenchmarkScope(b *testing.B) {
	for _, n := range []int{1, 10, MaxRules} {
		rules := make([]Rule, n)
		for i := range rules {
			rules[i] = both(fmt.Sprintf("site/%d/+/temperature", i))
		}
		s := scope(b, rules...)
		name := []byte("site/0/kitchen/temperature")
		b.Run(fmt.Sprintf("publish/%d", n), func(b *testing.B) {
			for b.Loop() {
				if !s.MayPublish(name) {
					b.Fatal("not permitted")
				}
			}
		})
		b.Run(fmt.Sprintf("subscribe/%d", n), func(b *testing.B) {
			for b.Loop() {
				if !s.MaySubscribe("site/0/+/temperature") {
					b.Fatal("not permitted")
				}
			}
		})
	}
}
