package pake_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/pake"
)

// bothSides returns a function that does one whole run without stretching.
func bothSides(tb testing.TB, g pake.Group) func() error {
	cfg := pake.Config{Group: g, Stretch: pake.Stretch{Skip: true}}
	password := []byte("correct horse battery staple")
	v, err := pake.NewVerifier(cfg, "alice", "broker", password)
	require.NoError(tb, err)
	return func() error {
		msg1, client, err := pake.Start(cfg, "alice", "broker", password)
		if err != nil {
			return err
		}
		msg2, server, err := pake.Respond(cfg, "alice", "broker", v, msg1)
		if err != nil {
			return err
		}
		msg3, err := client.Reply(msg2)
		if err != nil {
			return err
		}
		msg4, _, err := server.Finish(msg3)
		if err != nil {
			return err
		}
		_, err = client.Finish(msg4)
		return err
	}
}

// What a run costs beside the TLS handshake that it is an alternative to is measured by the
// program examples/bench.

func BenchmarkP256BothSides(b *testing.B)         { benchmark(b, bothSides(b, pake.P256)) }
func BenchmarkRistretto255BothSides(b *testing.B) { benchmark(b, bothSides(b, pake.Ristretto255)) }

// BenchmarkRespond is the server's answer and its refusal of a wrong proof, for a
// user and for a decoy: the two may not differ.
func BenchmarkRespond(b *testing.B) {
	const user, server = "alice", "broker"
	cfg := pake.Config{Stretch: pake.Stretch{Time: 1, Memory: 1024, Threads: 1}}
	stored, err := pake.NewVerifier(cfg, user, server, []byte("correct horse"))
	require.NoError(b, err)
	decoys, err := pake.NewDecoys(cfg, make([]byte, 32))
	require.NoError(b, err)
	msg1, client, err := pake.Start(cfg, user, server, []byte("wrong"))
	require.NoError(b, err)
	msg2, _, err := pake.Respond(cfg, user, server, stored, msg1)
	require.NoError(b, err)
	msg3, err := client.Reply(msg2)
	require.NoError(b, err)
	answer := func(v *pake.Verifier) func() error {
		return func() error {
			_, run, err := pake.Respond(cfg, user, server, decoys.Verifier(user, server, v), msg1)
			if err != nil {
				return err
			}
			if _, _, err := run.Finish(msg3); !errors.Is(err, pake.ErrProof) {
				return fmt.Errorf("a wrong proof: %v", err)
			}
			return nil
		}
	}
	b.Run("user", func(b *testing.B) { benchmark(b, answer(stored)) })
	b.Run("decoy", func(b *testing.B) { benchmark(b, answer(nil)) })
	b.Run("user over decoy", func(b *testing.B) { ratio(b, answer(stored), answer(nil)) })
}

func BenchmarkNewVerifier(b *testing.B) {
	password := []byte("correct horse battery staple")
	benchmark(b, func() error {
		_, err := pake.NewVerifier(pake.Config{}, "alice", "broker", password)
		return err
	})
}

func benchmark(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

// ratio does one of each in turn, so that both meet the same machine, and reports the
// ratio of the median times.
func ratio(b *testing.B, f, g func() error) {
	var forF, forG []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := g(); err != nil {
			b.Fatal(err)
		}
		forF = append(forF, middle.Sub(start))
		forG = append(forG, time.Since(middle))
	}
	slices.Sort(forF)
	slices.Sort(forG)
	middle := len(forF) / 2
	b.ReportMetric(float64(forF[middle])/float64(forG[middle]), "ratio")
}

// TestAllocations holds both sides of a P-256 run to the 40 allocations that
// the project allows.
func TestAllocations(t *testing.T) {
	for g, most := range map[pake.Group]float64{pake.P256: 40, pake.Ristretto255: 60} {
		f := bothSides(t, g)
		allocations := testing.AllocsPerRun(50, func() {
			if err := f(); err != nil {
				panic(err)
			}
		})
		require.LessOrEqual(t, allocations, most, "%v", g)
	}
}
