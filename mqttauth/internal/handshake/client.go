package handshake

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/pake"
)

// The octets that package pake's messages begin with and frames do not carry: version and kind. Message 1 and 2 then
// have the group.
const (
	pakeVersion = 1

	pakeHello     = 1
	pakeChallenge = 2
	pakeProof     = 3
	pakeWelcome   = 4
)

// ClientConfig is what a client knows before a run.
type ClientConfig struct {
	User     string
	Server   string // the authority's name
	ClientID string
	Password []byte
	Groups   []pake.Group // offered, the preferred one first; P256 if empty
	// Stretch and MaxStretch are those of pake.Config: what the client accepts from the authority.
	Stretch, MaxStretch pake.Stretch
}

func (c *ClientConfig) groups() []pake.Group {
	if len(c.Groups) == 0 {
		return []pake.Group{pake.P256}
	}
	return c.Groups
}

// Client is the client's side of one run. It is not safe for concurrent use, but for Abort.
type Client struct {
	server string
	hello  frame.HelloFrame
	runs   []*pake.Client // one for each group of hello
	chosen *pake.Client   // once the challenge was answered
	over   bool
}

// Start begins a run and returns the hello.
func Start(cfg ClientConfig) (hello []byte, c *Client, err error) {
	c = &Client{server: cfg.Server, hello: frame.HelloFrame{ClientID: cfg.ClientID, User: cfg.User}}
	if !frame.ValidName(cfg.Server) {
		return nil, nil, fmt.Errorf("mqttauth: %.80q is no name of an authority", cfg.Server)
	}
	rand.Read(c.hello.Session[:]) // never fails
	for _, g := range cfg.groups() {
		c.hello.Groups = append(c.hello.Groups, byte(g))
	}
	context := c.hello.Context()
	for _, g := range cfg.groups() {
		pc := pake.Config{Group: g, Context: context, Stretch: cfg.Stretch, MaxStretch: cfg.MaxStretch}
		msg1, run, err := pake.Start(pc, cfg.User, cfg.Server, cfg.Password)
		if err != nil {
			c.Abort()
			return nil, nil, err
		}
		c.runs = append(c.runs, run)
		c.hello.Elements = append(c.hello.Elements, msg1[3:])
	}
	if hello, err = c.hello.Append(nil); err != nil {
		c.Abort()
		return nil, nil, err
	}
	return hello, c, nil
}

// Session returns the session id that Start drew.
func (c *Client) Session() frame.ID { return c.hello.Session }

// Challenge takes the authority's challenge and returns the proof. It stretches the password, which takes a while. A
// frame of another session is ErrSession and leaves the run as it was, and so is one that is no challenge at all;
// after every other error the run is over.
func (c *Client) Challenge(b []byte) (proof []byte, err error) {
	f, err := frame.ParseChallenge(b)
	if err != nil {
		return nil, err
	}
	if f.Session != c.hello.Session {
		return nil, ErrSession
	}
	if c.chosen != nil || c.over {
		return nil, ErrState
	}
	proof, err = c.reply(&f)
	if err != nil {
		c.over = true
		c.Abort()
		return nil, err
	}
	return proof, nil
}

func (c *Client) reply(f *frame.ChallengeFrame) ([]byte, error) {
	if f.Server != c.server {
		return nil, fmt.Errorf("%w: %.80q", ErrServerName, f.Server)
	}
	i := slices.Index(c.hello.Groups, f.Group)
	if i < 0 {
		return nil, fmt.Errorf("%w: the authority chose group %d", ErrGroup, f.Group)
	}
	msg2 := append([]byte{pakeVersion, pakeChallenge, f.Group}, f.Stretch...)
	msg3, err := c.runs[i].Reply(append(msg2, f.Element...))
	if err != nil {
		return nil, err
	}
	c.chosen = c.runs[i]
	for _, run := range c.runs {
		if run != c.chosen {
			run.Abort()
		}
	}
	proof := frame.ProofFrame{Session: f.Session}
	copy(proof.Proof[:], msg3[2:])
	return proof.Append(nil), nil
}

// Welcome takes the authority's welcome, which proves that it knows the user's verifier, and returns the session. A
// frame of another session, or that is no welcome at all, leaves the run as it was; every other error ends it.
func (c *Client) Welcome(b []byte) (*ClientSession, Welcome, error) {
	f, err := frame.ParseWelcome(b)
	if err != nil {
		return nil, Welcome{}, err
	}
	if f.Session != c.hello.Session {
		return nil, Welcome{}, ErrSession
	}
	if c.chosen == nil || c.over {
		return nil, Welcome{}, ErrState
	}
	c.over = true
	sk, err := c.chosen.Finish(append([]byte{pakeVersion, pakeWelcome}, f.Proof[:]...))
	if err != nil {
		return nil, Welcome{}, err
	}
	defer clear(sk)
	keys, err := newKeys(f.Session, sk)
	if err != nil {
		return nil, Welcome{}, err
	}
	plaintext, err := keys.open(keys.authority, frame.Welcome, 0, f.Sealed)
	if err != nil {
		return nil, Welcome{}, err
	}
	w, err := decodeWelcome(plaintext)
	if err != nil {
		return nil, Welcome{}, err
	}
	return &ClientSession{Keys: keys}, w, nil
}

// Abort ends the run and overwrites its secrets.
func (c *Client) Abort() {
	for _, run := range c.runs {
		run.Abort()
	}
}

// Format writes the type alone.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, "handshake.Client{}") }

// ClientSession is the client's side of an established session. It is safe for concurrent use.
type ClientSession struct {
	*Keys

	mu      sync.Mutex
	counter uint64
	open    map[uint64]struct{} // requests without a response
}

const maxOpen = 16

// ErrTooMany means that too many requests are without a response.
var ErrTooMany = errors.New("mqttauth: too many requests without a response")

// Request seals an operation and returns its counter and the frame, which may be sent again until the response comes.
func (s *ClientSession) Request(operation []byte) (counter uint64, b []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxOpen {
		return 0, nil, ErrTooMany
	}
	f := frame.SealedFrame{Type: frame.Request, Session: s.session, Counter: s.counter + 1}
	f.Sealed = s.seal(s.client, f.Type, f.Counter, operation)
	if b, err = f.Append(nil); err != nil {
		return 0, nil, err
	}
	s.counter++
	if s.open == nil {
		s.open = make(map[uint64]struct{})
	}
	s.open[s.counter] = struct{}{}
	return s.counter, b, nil
}

// Forget gives up waiting for a response.
func (s *ClientSession) Forget(counter uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, counter)
}

// Response opens a response to a request that has none yet.
func (s *ClientSession) Response(b []byte) (counter uint64, result []byte, err error) {
	f, err := frame.ParseSealed(b, frame.Response)
	if err != nil {
		return 0, nil, err
	}
	if f.Session != s.session {
		return 0, nil, ErrSession
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[f.Counter]; !ok {
		return 0, nil, ErrReplay
	}
	if result, err = s.Keys.open(s.authority, f.Type, f.Counter, f.Sealed); err != nil {
		return 0, nil, err
	}
	delete(s.open, f.Counter)
	return f.Counter, result, nil
}
