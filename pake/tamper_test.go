package pake

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// changed returns, by name, what may become of a message on its way.
func changed(message []byte) map[string][]byte {
	variants := map[string][]byte{
		"nothing":  nil,
		"empty":    {},
		"extended": append(bytes.Clone(message), 0),
		"doubled":  append(bytes.Clone(message), message...),
		"large":    append(bytes.Clone(message), make([]byte, 1<<16)...),
	}
	for i := range message {
		variants[fmt.Sprint("truncated to ", i)] = message[:i:i]
		for _, bit := range []byte{0x01, 0x80, 0xff} {
			flipped := bytes.Clone(message)
			flipped[i] ^= bit
			variants[fmt.Sprintf("octet %d ^ %02x", i, bit)] = flipped
		}
	}
	return variants
}

// TestEveryOctetCounts: each octet of each message flipped, each truncation
// and some extensions end the run with an error and without a key.
func TestEveryOctetCounts(t *testing.T) {
	for _, g := range groups {
		for name, stretch := range map[string]Stretch{
			"skip": {Skip: true}, "stretched": {Time: 1, Memory: 1024, Threads: 1},
		} {
			t.Run(g.String()+" "+name, func(t *testing.T) {
				cfg := Config{Group: g, Stretch: stretch, MaxStretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
				if stretch.Skip {
					cfg.MaxStretch = Stretch{}
				}
				good := run{client: cfg, server: cfg, verifier: enrol(t, cfg)}
				good.mustLogin(t)
				for i, message := range [][]byte{good.msg1, good.msg2, good.msg3, good.msg4} {
					for name, variant := range changed(message) {
						requireRefused(t, cfg, good.verifier, i+1, message, variant, name)
					}
				}
			})
		}
	}
}

// requireRefused does a fresh run in which the message of that number changes as
// the given one did.
func requireRefused(t *testing.T, cfg Config, v *Verifier, number int, message, variant []byte, name string) {
	t.Helper()
	mask := xor(message, variant)
	r := run{client: cfg, server: cfg, verifier: v, tamper: func(n int, m []byte) []byte {
		switch {
		case n != number:
			return m
		case mask != nil:
			return xor(m, mask)
		}
		return variant
	}}
	err := r.login()
	require.Error(t, err, "message %d: %s", number, name)
	if len(variant) != len(message) {
		require.ErrorIs(t, err, ErrMessage, "message %d: %s", number, name)
	}
	require.Nil(t, r.clientKey)
	if number < 4 {
		require.Nil(t, r.serverKey)
		require.Nil(t, r.msg4)
	}
}

// xor returns nil if the lengths differ.
func xor(a, b []byte) []byte {
	if len(a) != len(b) {
		return nil
	}
	c := bytes.Clone(a)
	for i := range c {
		c[i] ^= b[i]
	}
	return c
}

// TestReplayAndReflection: every message of one run, and of the same run, in
// place of every message of another.
func TestReplayAndReflection(t *testing.T) {
	for _, g := range groups {
		t.Run(g.String(), func(t *testing.T) {
			cfg := quick(g)
			v := enrol(t, cfg)
			verifier, err := v.MarshalBinary()
			require.NoError(t, err)
			old := run{client: cfg, server: cfg, verifier: v}
			old.mustLogin(t)
			for number := 1; number <= 4; number++ {
				for replayed, message := range [][]byte{verifier, old.msg1, old.msg2, old.msg3, old.msg4} {
					var own [5][]byte
					for _, source := range []string{"another run", "this run"} {
						if source == "this run" && replayed >= number {
							continue // not sent yet, or no replay
						}
						r := run{client: cfg, server: cfg, verifier: v}
						r.tamper = func(n int, m []byte) []byte {
							own[n] = m
							if n != number {
								return m
							}
							if source == "this run" && replayed > 0 {
								return own[replayed]
							}
							return message
						}
						require.Error(t, r.login(), "message %d of %s for %d", replayed, source, number)
						require.Nil(t, r.clientKey)
					}
				}
			}
		})
	}
}

// TestReplayedHelloNeedsX: a recorded message 1 gets an answer, as any would,
// but its sender has no x to prove anything with.
func TestReplayedHelloNeedsX(t *testing.T) {
	cfg := quick(P256)
	v := enrol(t, cfg)
	old := run{client: cfg, server: cfg, verifier: v}
	old.mustLogin(t)
	msg2, server, err := Respond(cfg, "alice", "broker", v, old.msg1)
	require.NoError(t, err)
	require.NotEqual(t, old.msg2, msg2)
	_, key, err := server.Finish(old.msg3)
	require.ErrorIs(t, err, ErrProof)
	require.Nil(t, key)
}

// TestCostsBeyondTheLimitsAreRefusedAtOnce: a false server names the price of
// message 3; above the ceiling nothing is allocated for it.
func TestCostsBeyondTheLimitsAreRefusedAtOnce(t *testing.T) {
	floor := Stretch{Time: 2, Memory: 2048, Threads: 2}
	ceiling := Stretch{Time: 3, Memory: 4096, Threads: 3}
	cfg := Config{Stretch: floor, MaxStretch: ceiling}
	v := enrol(t, cfg)
	for _, test := range []struct {
		asked Stretch
		want  error
	}{
		{floor, ErrProof}, // served; the salted result is just another one
		{ceiling, ErrProof},
		{Stretch{1, 2048, 2, false}, ErrStretch},
		{Stretch{2, 2047, 2, false}, ErrStretch},
		{Stretch{2, 2048, 1, false}, ErrStretch},
		{Stretch{4, 4096, 3, false}, ErrStretch},
		{Stretch{3, 4097, 3, false}, ErrStretch},
		{Stretch{3, 4096, 4, false}, ErrStretch},
		{Stretch{math.MaxUint32, 2048, 2, false}, ErrStretch},
		{Stretch{2, math.MaxUint32, 2, false}, ErrStretch},
		{Stretch{2, 2048, 255, false}, ErrStretch},
		{Stretch{Skip: true}, ErrStretch},
		{Stretch{0, 2048, 2, false}, ErrMessage},
		{Stretch{2, 0, 2, false}, ErrMessage},
		{Stretch{2, 2048, 0, false}, ErrMessage},
	} {
		msg1, client, err := Start(cfg, "alice", "broker", password)
		require.NoError(t, err)
		rogue := *v
		rogue.recipe.Stretch = test.asked
		rogue.recipe.salt = [saltLen]byte{}
		msg2, server, err := Respond(cfg, "alice", "broker", &rogue, msg1)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		msg3, err := client.Reply(msg2)
		runtime.ReadMemStats(&after)
		if test.want == ErrProof {
			require.NoError(t, err)
			_, _, err = server.Finish(msg3)
		} else {
			require.Nil(t, msg3)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<16), "%+v", test.asked)
		}
		require.ErrorIs(t, err, test.want, "%+v", test.asked)
	}
}

func TestDefaultCeiling(t *testing.T) {
	for _, test := range []struct {
		stretch, asked Stretch
		within         bool
	}{
		{Stretch{}, Stretch{Time: 2, Memory: 19 * 1024, Threads: 1}, true},
		{Stretch{}, Stretch{Time: 8, Memory: 64 * 1024, Threads: 4}, true},
		{Stretch{}, Stretch{Time: 9, Memory: 64 * 1024, Threads: 4}, false},
		{Stretch{}, Stretch{Time: 8, Memory: 64*1024 + 1, Threads: 4}, false},
		{Stretch{}, Stretch{Time: 2, Memory: 19*1024 - 1, Threads: 1}, false},
		{Stretch{}, Stretch{Time: 1, Memory: 19 * 1024, Threads: 1}, false},
		{Stretch{}, Stretch{Skip: true}, false},
		{Stretch{Skip: true}, Stretch{Skip: true}, true},
		{Stretch{Skip: true}, Stretch{Time: 2, Memory: 19 * 1024, Threads: 1}, false},
		{Stretch{Time: 10, Memory: 128 * 1024, Threads: 8}, Stretch{Time: 10, Memory: 128 * 1024, Threads: 8}, true},
		{Stretch{Time: 10, Memory: 128 * 1024, Threads: 8}, Stretch{Time: 11, Memory: 128 * 1024, Threads: 8}, false},
	} {
		_, cfg, err := Config{Stretch: test.stretch}.resolve()
		require.NoError(t, err)
		require.Equal(t, test.within, test.asked.within(cfg.Stretch, cfg.MaxStretch), "%+v", test)
	}
	least := Stretch{Time: 1, Memory: 1024, Threads: 1}
	require.False(t, least.within(Stretch{Skip: true}, least), "a client that skips pays nothing, whatever its ceiling")
}
