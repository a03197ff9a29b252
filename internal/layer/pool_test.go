package layer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFreeBuffers wants buffers kept that are used, all of them, and no others.
func TestFreeBuffers(t *testing.T) {
	f := &freeBuffers{watching: true} // the garbage collector does not tell
	const class = 20
	free := func() int { return len(f.class[class].free) }
	three := [][]byte{make([]byte, 0, 1<<class), make([]byte, 0, 1<<class), make([]byte, 0, 1<<class)}
	for _, b := range three {
		f.put(class, b)
	}
	f.trim()
	require.Equal(t, 3, free(), "they have just come")

	for range 5 {
		a, b := f.get(class), f.get(class)
		require.Same(t, &three[2][:1][0], &a[:1][0], "the one that was used last")
		f.put(class, b)
		f.put(class, a)
		f.trim()
		require.Equal(t, 2, free(), "the third was not needed")
	}
	f.get(class)
	f.trim()
	require.Zero(t, free())
	require.Nil(t, f.get(class))

	for range 2 * maxFree >> class {
		f.put(class, three[0])
	}
	require.Equal(t, maxFree>>class, free())
	f.put(largest, make([]byte, 0, 1<<largest))
	require.Len(t, f.class[largest].free, 1)
}

// TestFreeBuffersLastALull wants a garbage collection in between to change nothing.
func TestFreeBuffersLastALull(t *testing.T) {
	f := &freeBuffers{watching: true, looked: time.Now()}
	f.put(20, make([]byte, 0, 1<<20))
	f.class[20].unused = 1
	f.collected()
	require.Len(t, f.class[20].free, 1)
	require.True(t, f.watching)

	f.looked = time.Now().Add(-lull)
	f.collected()
	require.Empty(t, f.class[20].free)
	require.Nil(t, f.class[20].free[:1][0], "nothing holds it")
}

// TestReadsEndWithALargePacket wants what follows a large packet not to be moved for it.
func TestReadsEndWithALargePacket(t *testing.T) {
	b := &buffer{seen: 1 << 20}
	const size = 1 << 20
	b.filled(copy(b.space(0), make([]byte, firstRead)))
	for b.end < size {
		to := b.space(size)
		require.LessOrEqual(t, len(to), size-b.end)
		b.filled(min(len(to), 100_000))
	}
	require.Equal(t, size, b.end)

	b = &buffer{}
	b.space(0)
	b.filled(10)
	require.Greater(t, len(b.space(100)), 90, "behind a small one more may come at once")
}
