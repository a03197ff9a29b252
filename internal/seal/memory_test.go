package seal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/replay"
)

// TestMaxAge holds messages of all times against a limit, on a topic that was just heard, in the session that it was
// heard in, and on one that was not: the first two take short cuts.
func TestMaxAge(t *testing.T) {
	keys := []Key{testKey(t, "#", 1)}
	from := forger{testSealer(t, Config{Keys: keys})}
	now := time.Unix(1_800_000_000, 0)
	const noon, limit = 1_800_000_000, 100
	receiver := func() *Sealer {
		s := testSealer(t, Config{Keys: keys, MaxAge: limit * time.Second})
		s.clock.read = func() reading { return reading{wall: now} }
		return s
	}
	for name, c := range map[string]struct {
		at  uint32
		err error
	}{
		"now":                 {noon, nil},
		"just young enough":   {noon - limit, nil},
		"too old":             {noon - limit - 1, ErrTooOld},
		"just not too new":    {noon + limit, nil},
		"from the future":     {noon + limit + 1, ErrTooOld},
		"without a clock":     {0, ErrTooOld},
		"beginning of time":   {1, ErrTooOld},
		"the last of seconds": {1<<32 - 1, ErrTooOld},
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []string{"", "another session", "the same session"} {
				s := receiver()
				if before != "" {
					session := map[string]uint32{"another session": 2, "the same session": 1}[before]
					for seq := range uint32(2) {
						_, err := s.Open("a", from.frame(t, "a", 0, session, noon, seq+1, ""))
						require.NoError(t, err)
					}
				}
				size := s.own.Size()
				_, err := s.Open("a", from.frame(t, "a", 0, 1, c.at, 3, ""))
				require.ErrorIs(t, err, c.err, before)
				if c.err != nil {
					require.Equal(t, size, s.own.Size(), "it leaves nothing behind")
				}

				exempt := func(flags byte, seq uint32, how replay.Arrival) error {
					frame := from.frame(t, "b", flags, uint32(flags), c.at, seq, "")
					_, err := s.open(nil, &Message{Topic: []byte("b"), Payload: frame}, &how, s.own)
					return err
				}
				require.NoError(t, exempt(flagRetain, 1, replay.Arrival{Retained: true}))
				require.NoError(t, exempt(flagWill, 1, replay.Arrival{}))
				require.ErrorIs(t, exempt(flagRetain, 2, replay.Arrival{}), c.err, "what arrives live is not exempt")
			}
		})
	}
}

// TestMaxAgeWithoutAClock is a receiver whose clock begins with that of Unix: what has no time is not of now to it.
func TestMaxAgeWithoutAClock(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, MaxAge: 100 * time.Second})
	s.clock.read = func() reading { return reading{wall: time.Unix(50, 0)} }
	_, err := s.Open("a", forger{s}.frame(t, "a", 0, 1, 0, 1, ""))
	require.ErrorIs(t, err, ErrTooOld)
}
