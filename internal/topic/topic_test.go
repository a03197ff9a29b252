package topic

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidName(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for name, want := range map[string]bool{
		"a": true, "/": true, "a/b": true, "//": true, "$SYS/x": true, " ": true, "a b/ü": true, long: true,
		"": false, "+": false, "#": false, "a/+": false, "a#": false, "a\x00b": false, long + "x": false,
	} {
		require.Equal(t, want, ValidName(name), "%.20q", name)
		require.Equal(t, want, ValidName([]byte(name)), "%.20q", name)
	}
}

func TestValidFilter(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for filter, want := range map[string]bool{
		"a": true, "+": true, "#": true, "a/#": true, "+/+": true, "/": true, "//#": true, "+//+": true, "$SYS/#": true,
		long: true, "$share": true, "$shared/g": true, "$share/g/f": true, "$share/g/#": true, "$share/g//": true,
		"$share/g//a": true,

		"": false, "a#": false, "a+": false, "+a": false, "#/a": false, "a/#/b": false, "a/+b": false, "##": false,
		"++": false, "a\x00": false, long + "x": false, "#/": false,
		"$share/": false, "$share/g": false, "$share/g/": false, "$share//f": false, "$share/+/f": false,
		"$share/#": false, "$share/g#/f": false, "$share/g\x00/f": false, "$share/g/a#": false, "$share/g/$share/h/f": false,
		"$share/g/" + long: false,
	} {
		require.Equal(t, want, ValidFilter(filter), "%.30q", filter)
	}
}

func TestUnshare(t *testing.T) {
	for filter, want := range map[string]string{
		"a/b": "a/b", "$share/g/f": "f", "$share/g/a/+/#": "a/+/#", "$share/g//a": "/a", "$share/g//": "/",
		"$SYS/g/f": "$SYS/g/f", "$share": "$share", "": "",
		// Not valid, so there is nothing to take off.
		"$share/g": "$share/g", "$share/g/": "$share/g/", "$share//f": "$share//f", "$share/+/f": "$share/+/f",
	} {
		require.Equal(t, want, Unshare(filter), "%q", filter)
	}
}

func TestPrefix(t *testing.T) {
	for filter, want := range map[string]struct {
		levels int
		prefix string
	}{
		"#": {0, ""}, "+": {0, ""}, "+/a": {0, ""}, "a": {1, "a"}, "a/b": {2, "a/b"}, "a/#": {1, "a"}, "a/+/c": {1, "a"},
		"/+": {1, ""}, "//+": {2, "/"}, "a//+": {2, "a/"}, "a/": {2, "a/"}, "/": {2, "/"}, "//": {3, "//"},
		"$share/g/a/b/#": {2, "a/b"}, "$share/g/#": {0, ""}, "$SYS/#": {1, "$SYS"},
	} {
		levels, prefix := Prefix(filter)
		require.Equal(t, want.levels, levels, "%q", filter)
		require.Equal(t, want.prefix, prefix, "%q", filter)
	}
}

// TestMatchStandard has the examples of MQTT5 4.7.1 and 4.7.2.
func TestMatchStandard(t *testing.T) {
	for _, c := range []struct {
		filter, name string
		want         bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"#", "sport", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/monitor/Clients", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/monitor/Clients", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"ACCOUNTS", "Accounts", false},
		{"/finance", "finance", false},
		{"a/$x/+", "a/$x/b", true},
		{"a/#", "a/$x", true},

		{"$share/g/sport/#", "sport", true},
		{"$share/g/#", "a/b", true},
		{"$share/g/#", "$SYS/x", false},
		{"$share/g/+/x", "$SYS/x", false},
		{"$share/g/$SYS/#", "$SYS/x", true},
		{"$share/g/f", "$share/g/f", false},
		{"$share/g", "$share/g", false},

		// A filter that is not valid matches nothing.
		{"", "a", false}, {"", "/", false}, {"a/#/b", "a/x/b", false}, {"a+", "ab", false}, {"+a", "ba", false},
		{"a#", "ab", false}, {"a#", "a", false}, {"a/b#", "a/b", false}, {"$share/+/a", "a", false},
		{strings.Repeat("+/", 40000) + "+", strings.Repeat("/", 40000), false},
	} {
		require.Equal(t, c.want, Match(c.filter, c.name), "%.40q matches %.40q", c.filter, c.name)
		require.Equal(t, c.want, Match(c.filter, []byte(c.name)), "%.40q matches %.40q", c.filter, c.name)
	}
}

func TestContainsExamples(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"#", "a/+/c", true}, {"#", "#", true}, {"+/#", "#", true}, {"#", "+/#", true}, {"+/+/#", "#", false},
		{"a/#", "a", true}, {"a/#", "a/#", true}, {"a/+", "a/#", false}, {"a/+/#", "a/#", false}, {"+", "a", true},
		{"a", "+", false}, {"#", "$SYS/#", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
		{"$SYS/#", "#", false}, {"a/#", "ab", false}, {"a/b", "a/b/c", false}, {"a/b/c", "a/b", false},
		{"a/#", "$share/g/a/b", true}, {"$share/g/a/#", "a/b", true}, {"#", "$share/g/#", true},
		{"#", "$share/g/$SYS/x", false}, {"$share/#", "$share/g/f", false},
		{"/+/#", "/#", true}, {"+", "/#", false},
		{"a/#/b", "a/#/b", false}, {"", "", false}, {"#", "a#", false}, {"#", "", false},
	} {
		require.Equal(t, c.want, Contains(c.outer, c.inner), "%q contains %q", c.outer, c.inner)
	}
}

func TestOverlapExamples(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a/+", "+/b", true}, {"a/#", "+", true}, {"a/#", "b/#", false}, {"#", "$SYS/#", false}, {"+/x", "$SYS/+", false},
		{"a/+", "a", false}, {"a/#", "a", true}, {"a/b/#", "a", false}, {"$share/g/a", "a", true}, {"$share/g/a", "$share/h/a", true},
		{"a/b", "a/b/#", true}, {"/+", "+/", true}, {"a#", "a#", false}, {"", "#", false},
		{"+", "/#", false}, // "" is not a name
	} {
		require.Equal(t, c.want, Overlap(c.a, c.b), "%q overlaps %q", c.a, c.b)
		require.Equal(t, c.want, Overlap(c.b, c.a), "%q overlaps %q", c.b, c.a)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	name := []byte("site/7/line/3/temperature")
	for _, filter := range []string{"site/+/line/#", "$share/g/site/+/line/#", "+/+/+/+/temperature", "site/7/line/3/temperature"} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if !Match(filter, name) || !ValidName(name) {
				panic("no match")
			}
		}), filter)
	}
}

func BenchmarkMatch(b *testing.B) {
	name := []byte("site/7/line/3/temperature")
	for _, filter := range []string{"#", "site/+/line/#", "site/7/line/3/temperature", "$share/g/site/+/line/#"} {
		b.Run(strings.ReplaceAll(filter, "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Match(filter, name)
			}
		})
	}
}

func BenchmarkContains(b *testing.B) {
	for b.Loop() {
		Contains("site/+/line/#", "$share/g/site/7/line/3/+")
	}
}
