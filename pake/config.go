package pake

import (
	"errors"
	"fmt"
)

// Config says how to enrol and how to run. The zero value is ready to use:
// P-256, the default stretching, no context, no guess budget. Both sides of a
// run need the same Group and Context.
type Config struct {
	// Group is P256 if zero.
	Group Group

	// Context is what the two sides want authenticated besides the names:
	// a session id, an address, what was offered before the run. At most
	// 65535 octets. If the sides differ in it, the run fails as it does with
	// a wrong password. Nil is the empty context.
	Context []byte

	// Stretch is the cost NewVerifier gives to a guess, the least cost that a
	// client accepts from a server, and the cost that Decoys shows.
	// Zero means the default. With Stretch.Skip a client accepts only
	// servers that skip it too.
	Stretch Stretch

	// MaxStretch is the greatest cost that a client accepts, in every field,
	// so that a false server cannot make it spend memory and time. Zero
	// means 8 passes, 64 MiB, 4 lanes, or Stretch where that is more.
	MaxStretch Stretch

	// Budget limits guesses, on the server. Respond counts one for the user
	// and for Source before it answers and returns a *BackoffError when there
	// is none left; Finish gives it back when the proof is right. Nil means
	// no limit: then something else must limit them, since an online guess
	// costs the attacker nothing.
	Budget *Budget

	// Source says where the client of this run is, for Budget: its network
	// address without the port (for IPv6 its /64), say. Required with Budget.
	Source string
}

// resolve validates c and fills in the defaults.
func (c Config) resolve() (group, Config, error) {
	if c.Group == 0 {
		c.Group = P256
	}
	g, err := c.Group.arithmetic()
	if err != nil {
		return nil, c, fmt.Errorf("pake: %w", err)
	}
	c.Stretch = c.Stretch.withDefault()
	if err := c.Stretch.validate(); err != nil {
		return nil, c, err
	}
	if c.Stretch.Skip {
		return g, c, nil
	}
	if c.MaxStretch == (Stretch{}) {
		c.MaxStretch = Stretch{
			Time:    max(c.Stretch.Time, defaultMaxStretch.Time),
			Memory:  max(c.Stretch.Memory, defaultMaxStretch.Memory),
			Threads: max(c.Stretch.Threads, defaultMaxStretch.Threads),
		}
	}
	if !c.Stretch.within(c.Stretch, c.MaxStretch) {
		return nil, c, errors.New("pake: Config.MaxStretch is below Config.Stretch")
	}
	return g, c, nil
}
