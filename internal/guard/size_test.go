package guard

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScopeSize: a scope with as many levels as a token can carry, and one with as many branches, take little more
// memory than Size says, and a small multiple of the token.
func TestScopeSize(t *testing.T) {
	const token = 64 << 10
	for name, filter := range map[string]func(i int) string{
		"deep":  func(i int) string { return fmt.Sprint(i) + strings.Repeat("/a", maxLevels-1) },
		"twigs": func(i int) string { return fmt.Sprintf("%d/%d", i/2, i%2) },
		"flat":  func(i int) string { return fmt.Sprint(i) },
		"long":  func(i int) string { return fmt.Sprint(i, strings.Repeat("x", 1000)) },
	} {
		var rules []Rule
		for total := 0; total < token && len(rules) < MaxRules; {
			f := filter(len(rules))
			total += len(f)
			rules = append(rules, Rule{Filter: f, Publish: true, Subscribe: true})
		}
		before := heap()
		const copies = 8
		var scopes [copies]*Scope
		for i := range scopes {
			var err error
			scopes[i], err = NewScope(rules)
			require.NoError(t, err)
		}
		took := (heap() - before) / copies
		runtime.KeepAlive(scopes)
		runtime.KeepAlive(rules)
		t.Logf("%s: %d rules take %d bytes, Size is %d", name, len(rules), took, scopes[0].Size())
		require.LessOrEqual(t, took, scopes[0].Size()*5/4, name)
		require.LessOrEqual(t, took, 80*token, name)
	}
	require.Zero(t, (*Scope)(nil).Size())
}

// heap is how much memory is in use, in bytes.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
