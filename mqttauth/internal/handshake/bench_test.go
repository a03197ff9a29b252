package handshake

import "testing"

// BenchmarkRun is a whole run, both sides, with the least that is stretched (1 MiB, one pass).
func BenchmarkRun(b *testing.B) {
	f := newFixture(b)
	for b.Loop() {
		f.run(b, testConfig())
	}
}

// BenchmarkHello is what a flood of hellos costs the authority each, most of them behind a budget that is spent.
func BenchmarkHello(b *testing.B) {
	f := newFixture(b)
	cfg := testConfig()
	cfg.User = "nobody"
	for b.Loop() {
		b.StopTimer()
		f.clock.Advance(RunTimeout)
		hello, _, err := Start(cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		_, _ = f.Receive(testSource, hello)
	}
}
