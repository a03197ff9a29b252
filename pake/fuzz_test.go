package pake

import (
	"bytes"
	"testing"
)

// fuzzRun returns a good run's octets, to start from.
func fuzzRun(f *testing.F, g Group) (cfg Config, v *Verifier, good run) {
	cfg = quick(g)
	v, err := NewVerifier(cfg, "alice", "broker", password)
	if err != nil {
		f.Fatal(err)
	}
	good = run{client: cfg, server: cfg, verifier: v}
	if err := good.login(); err != nil {
		f.Fatal(err)
	}
	return cfg, v, good
}

// FuzzVerifierBinary: what decodes encodes to the same octets.
func FuzzVerifierBinary(f *testing.F) {
	for _, g := range groups {
		_, v, good := fuzzRun(f, g)
		b, err := v.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(good.msg2)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v Verifier
		if v.UnmarshalBinary(b) != nil {
			return
		}
		again, err := v.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
	})
}

// FuzzVerifierText: what decodes survives being written and read again.
func FuzzVerifierText(f *testing.F) {
	for _, g := range groups {
		_, v, _ := fuzzRun(f, g)
		text, err := v.MarshalText()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(append(text, " alice\n"...))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v, w Verifier
		if v.UnmarshalText(text) != nil {
			return
		}
		again, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.UnmarshalText(again); err != nil {
			t.Fatal(err)
		}
		a, _ := v.MarshalBinary()
		b, _ := w.MarshalBinary()
		if !bytes.Equal(a, b) {
			t.Fatalf("%q became %q", text, again)
		}
	})
}

// FuzzElement: what decodes is no identity and encodes to the same octets.
func FuzzElement(f *testing.F) {
	for _, id := range groups {
		for _, invalid := range invalidElements(f, id) {
			f.Add([]byte(invalid))
		}
		g, _ := id.arithmetic()
		f.Add(g.base(&scalar{31: 1}).appendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, id := range groups {
			g, _ := id.arithmetic()
			e, err := g.decode(b)
			if err != nil {
				continue
			}
			if e.isIdentity() || !bytes.Equal(e.appendTo(nil), b) {
				t.Fatalf("%v: %x", id, b)
			}
		}
	})
}

// FuzzServer: no two messages but those of the client give a key. A message 1
// that the fuzzer finds may well be answered; it has no x for message 3.
func FuzzServer(f *testing.F) {
	type side struct {
		cfg Config
		v   *Verifier
	}
	var sides []side
	for _, g := range groups {
		cfg, v, good := fuzzRun(f, g)
		sides = append(sides, side{cfg, v})
		f.Add(good.msg1, good.msg3)
		f.Add(good.msg2, good.msg4)
	}
	f.Fuzz(func(t *testing.T, msg1, msg3 []byte) {
		for _, s := range sides {
			_, server, err := Respond(s.cfg, "alice", "broker", s.v, msg1)
			if err != nil {
				continue
			}
			msg4, key, err := server.Finish(msg3)
			if err == nil || msg4 != nil || key != nil {
				t.Fatal("a proof of nothing")
			}
			if _, _, err := server.Finish(msg3); err != ErrState {
				t.Fatal("served twice")
			}
		}
	})
}

// FuzzClient: no messages but those of the server give a key, and whatever
// they ask for costs no more than the ceiling.
func FuzzClient(f *testing.F) {
	for _, g := range groups {
		_, _, good := fuzzRun(f, g)
		f.Add(good.msg2, good.msg4)
		f.Add(good.msg1, good.msg3)
	}
	least := Stretch{Time: 1, Memory: 1024, Threads: 1}
	f.Fuzz(func(t *testing.T, msg2, msg4 []byte) {
		for _, g := range groups {
			for _, cfg := range []Config{quick(g), {Group: g, Stretch: least, MaxStretch: least}} {
				_, client, err := Start(cfg, "alice", "broker", password)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := client.Reply(msg2); err != nil {
					continue
				}
				if key, err := client.Finish(msg4); err == nil || key != nil {
					t.Fatal("a proof of nothing")
				}
				if _, err := client.Finish(msg4); err != ErrState {
					t.Fatal("served twice")
				}
			}
		}
	})
}
