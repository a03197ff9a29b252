package seal

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTopics(t *testing.T) {
	alice, bob := pair(t, "site/#")
	long := "site/" + strings.Repeat("x", 65530)
	for topic, want := range map[string]error{
		"site": nil, "site/": nil, "site/$x": nil, long: nil, "site/" + strings.Repeat("y", 2000): nil,
		"sit": ErrNoKey, "Site/7": ErrNoKey, "/site/7": ErrNoKey,
		"": ErrTopicName, "site/+": ErrTopicName, "site/#": ErrTopicName, "site/\x00": ErrTopicName, long + "x": ErrTopicName,
	} {
		for range 2 {
			sealed, err := alice.Seal(topic, []byte("x"))
			require.ErrorIs(t, err, want, "%.20q", topic)
			if err != nil {
				continue
			}
			got, err := bob.Open(topic, sealed)
			require.NoError(t, err)
			require.Equal(t, "x", string(got))
			require.Equal(t, len(topic) <= maxKept, bob.topics.findString(topic) != nil, "a long name is not kept")
		}
	}
}

func TestCovers(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1), testKey(t, "+/open", 2)}})
	for range 2 { // the second time from memory
		for name, want := range map[string]bool{
			"site": true, "site/7": true, "x/open": true, "site/+": true, "x": false, "$SYS/open": false, "": false,
			strings.Repeat("x", 2000): false, "site/" + strings.Repeat("x", 2000): true,
		} {
			require.Equal(t, want, s.covers([]byte(name)), "%.20q", name)
		}
	}
	require.True(t, s.topics.isForeign([]byte("x")))
	require.False(t, s.topics.isForeign([]byte(strings.Repeat("x", 2000))), "too long to be kept")
	require.Nil(t, s.topics.findString("site/7"), "a question is no reason to remember")
}

// Who has no key cannot drive a topic in use out of the cache.
func TestForgeriesAreNotRemembered(t *testing.T) {
	alice, bob := pair(t, "#")
	frame, err := alice.Seal("a", []byte("x"))
	require.NoError(t, err)
	for i := range 100 {
		topic := fmt.Sprint("forged/", i)
		forged := bytes.Clone(frame)
		l, err := bob.derive(topic) // with the right key id even
		require.NoError(t, err)
		copy(forged[idAt:], l.keys[0].id[:])
		_, err = bob.Open(topic, forged)
		require.ErrorIs(t, err, ErrAuthentication)
		require.Nil(t, bob.topics.findString(topic))
	}
	require.Nil(t, bob.boxes.rows.Load(), "nothing was ever put in")
	require.Nil(t, bob.topics.parents.rows.Load())
	_, err = bob.Open("a", frame)
	require.NoError(t, err)
	require.NotNil(t, bob.topics.findString("a"))
}

func TestManyTopicsAndSessions(t *testing.T) {
	bob := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, MaxSessions: 1 << 20})
	for i := range 3 {
		alice, _ := pair(t, "#")
		for j := range 3 * topicRows * ways / 2 {
			topic := fmt.Sprint("t/", j)
			sealed, err := alice.Seal(topic, []byte(topic))
			require.NoError(t, err)
			got, err := bob.Open(topic, sealed)
			require.NoError(t, err, "%d %d", i, j)
			require.Equal(t, topic, string(got))
		}
	}
}

func TestCacheGivesUpTheUnused(t *testing.T) {
	c := newCache[int](1)
	value := func(i int) *int { return &i }
	for i := range ways {
		c.put(0, value(i))
	}
	find := func(v int) bool {
		r := c.row(0)
		for i := range r.slots() {
			if p := r.slot[i].Load(); p != nil && *p == v {
				r.touch(i)
				return true
			}
		}
		return false
	}
	for i := ways; i < 10*ways; i++ {
		require.True(t, find(3), "in use, so kept when %d came", i)
		c.put(0, value(i))
		require.True(t, find(i))
	}
	require.False(t, find(0))
}

// A Sealer that has not been used takes little, whatever it may remember.
func TestUnusedSealerIsSmall(t *testing.T) {
	cfg := Config{Keys: []Key{testKey(t, "site/#", 1)}}
	const sealers = 200
	kept := make([]*Sealer, sealers)
	before := heap()
	for i := range kept {
		kept[i] = testSealer(t, cfg)
	}
	require.Less(t, (heap()-before)/sealers, int64(8<<10))
	require.NotNil(t, kept[sealers-1])
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
