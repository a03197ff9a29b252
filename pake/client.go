package pake

import "sync"

// Client is a user's side of one run, between Start and Finish. It serves each
// of its two messages once, in order; any error, and Abort, end the run.
// Secrets are overwritten as soon as they are of no more use. Calls from
// several goroutines are safe, but only one of them can succeed.
type Client struct {
	mu         sync.Mutex
	step       step
	group      group
	floor      Stretch
	ceiling    Stretch
	transcript transcript
	password   []byte // prepared
	x          scalar
}

// step is what a Client or Server waits for.
type step uint8

const (
	ended step = iota
	awaitsChallenge
	awaitsProof
	awaitsWelcome
)

// Start begins a run of user with server and returns message 1, which depends
// on neither the names nor the password: 68 octets on P-256, 35 on
// ristretto255. The password is copied; the caller may overwrite its own.
func Start(cfg Config, user, server string, password []byte) (msg1 []byte, c *Client, err error) {
	g, cfg, err := cfg.resolve()
	if err != nil {
		return nil, nil, err
	}
	t, err := newTranscript(user, server, cfg.Context, g.elementLen())
	if err != nil {
		return nil, nil, err
	}
	prepared, err := prepare(password)
	if err != nil {
		return nil, nil, err
	}
	x, err := g.order().random()
	if err != nil {
		clear(prepared)
		return nil, nil, err
	}
	X := t.add(g.base(&x))
	return encodeHello(g, X), &Client{
		step:       awaitsChallenge,
		group:      g,
		floor:      cfg.Stretch,
		ceiling:    cfg.MaxStretch,
		transcript: t,
		password:   prepared,
		x:          x,
	}, nil
}

// Reply takes message 2 and returns message 3, the proof that the user knows
// the password: 34 octets. It stretches the password, which takes the time and
// memory that the server asks for, within the limits of Config: tens of
// milliseconds by default. Costs outside them are an ErrStretch, other faults
// an ErrMessage. A wrong password does not show here.
func (c *Client) Reply(msg2 []byte) (msg3 []byte, err error) {
	if !c.mu.TryLock() {
		return nil, ErrState
	}
	defer c.mu.Unlock()
	if c.step == awaitsChallenge {
		msg3, err = c.reply(msg2)
	} else {
		err = ErrState
	}
	if err != nil {
		c.end()
		return nil, err
	}
	clear(c.password)
	c.x = scalar{}
	c.step = awaitsWelcome
	return msg3, nil
}

func (c *Client) reply(msg2 []byte) ([]byte, error) {
	challenge, err := decodeStretched(msg2, kindChallenge)
	if err != nil {
		return nil, err
	}
	if challenge.group != c.group {
		return nil, wrongGroup(challenge.group, c.group)
	}
	if !challenge.recipe.within(c.floor, c.ceiling) {
		return nil, ErrStretch
	}
	w := challenge.recipe.exponent(&c.transcript, c.group, c.password)
	defer clear(w[:])
	if err := join(c.group, &c.transcript, challenge.element, challenge.octets, &c.x, &w); err != nil {
		return nil, err
	}
	return encodeProof(kindProof, c.transcript.userProof()), nil
}

// Finish takes message 4 and returns the key of the run, 32 octets that both
// sides have and nobody else. An ErrProof means that the server does not know
// the user's verifier.
func (c *Client) Finish(msg4 []byte) (key []byte, err error) {
	if !c.mu.TryLock() {
		return nil, ErrState
	}
	defer c.mu.Unlock()
	defer c.end()
	if c.step != awaitsWelcome {
		return nil, ErrState
	}
	proof, err := decodeProof(msg4, kindWelcome)
	if err != nil {
		return nil, err
	}
	server, err := c.transcript.verifyServer(proof)
	if err != nil {
		return nil, err
	}
	return server.key(), nil
}

// Abort ends the run and overwrites its secrets; for a run that times out or
// that the server ended. It waits for a Reply that is under way, and does
// nothing after the end.
func (c *Client) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
}

func (c *Client) end() {
	c.step = ended
	clear(c.password)
	c.x = scalar{}
	c.transcript.wipe()
}
