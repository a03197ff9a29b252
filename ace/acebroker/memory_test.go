package acebroker

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// heap is how much memory is in use, in bytes.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestLargeTokensBounded: who may have tokens of any kind has one made with the largest scope, and many of those are
// sent. What is remembered of them is bounded by what it takes, and small tokens are found again.
func TestLargeTokensBounded(t *testing.T) {
	a := newAS(t, "as")
	cfg := configFor(a, layertest.NewClock(base))
	cfg.CachedTokens = 512
	v := newTestVerifier(t, cfg)
	stored := new(store)
	stored.limit(512)
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	small := a.sign(jsonOf(t, set), EdDSA, nil)
	_, err := v.verify(context.Background(), small)
	require.NoError(t, err)
	for i := range 40 {
		set.Scope = append(set.Scope, aif.Entry{Filter: fmt.Sprint(i, strings.Repeat("/a", 100)), Publish: true, Subscribe: true})
	}
	before := heap()
	for i := range 60 {
		set.ID = fmt.Sprint(i)
		set.Confirmation.Key = holder(t, pop.EdDSA).Verifier()
		got, err := v.verify(context.Background(), a.sign(jsonOf(t, set), EdDSA, nil))
		require.NoError(t, err)
		require.True(t, stored.put("", got, base))
	}
	require.Less(t, heap()-before, 2*512*2*weightUnit)
	runtime.KeepAlive(stored)
	require.LessOrEqual(t, v.cache.recent.weight, 512)
	_, err = v.verify(context.Background(), small)
	require.NoError(t, err)
	for range 20 { // one that alone is too heavy
		set.Scope = append(set.Scope, set.Scope[:10]...)
	}
	for i := range set.Scope {
		set.Scope[i].Filter = fmt.Sprint(i, set.Scope[i].Filter)
	}
	hits := v.counters.cached.Load()
	_, err = v.verify(context.Background(), a.sign(jsonOf(t, set), EdDSA, nil))
	require.NoError(t, err)
	_, err = v.verify(context.Background(), small)
	require.NoError(t, err)
	require.Equal(t, hits+1, v.counters.cached.Load(), "what fits stays")
	require.LessOrEqual(t, v.cache.recent.weight, 512)
}

// TestNamesRememberedBounded: a Client Identifier can have 64 KiB, and a kid or a subject nearly as much. They are
// remembered by a hash.
func TestNamesRememberedBounded(t *testing.T) {
	const many = 500
	var s store
	s.limit(many)
	known := knownKeys{recent: recent[keyName, knownKey]{limit: many}}
	scope, err := compile(newAS(t, "as").claimSet(holder(t, pop.EdDSA).Verifier()))
	require.NoError(t, err)
	key := holder(t, pop.HS256).Verifier()
	before := heap()
	name := func(i int) string { return fmt.Sprint(i, strings.Repeat("x", 60_000)) }
	for i := range many {
		a := &access{scope: scope, key: key, keyID: name(i), expires: base.Add(time.Hour)}
		require.True(t, s.put(name(i), a, base))
		known.put(name(i), name(i), key, base.Add(time.Hour), base)
	}
	require.Less(t, heap()-before, many*1024)
	require.Len(t, s.get(name(many-1), base), 1)
	require.Len(t, s.get(name(0), base), 1)
	require.NotNil(t, s.byName(name(many-1), base))
	_, found := known.get(name(0), name(0), base)
	require.True(t, found)
	_, found = known.get(name(0), name(1), base)
	require.False(t, found)
	runtime.KeepAlive(&s)
	runtime.KeepAlive(&known)
}
