package handshake

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/pake"
)

const (
	// RunTimeout is how long a run may take from its hello to its proof.
	RunTimeout = 10 * time.Second
	// DefaultMaxRuns is how many runs an authority keeps if its configuration does not say.
	DefaultMaxRuns = 4096
)

// AuthorityConfig is what an authority is made of.
type AuthorityConfig struct {
	// Server is the authority's name, for which its verifiers were made.
	Server string
	// Verifier returns the verifier of a user, or nil without an error for a user who does not exist.
	Verifier func(user string) (*pake.Verifier, error)
	// Decoys stand in for users who do not exist; required. Their group and stretching should be those of all
	// verifiers.
	Decoys *pake.Decoys
	// Budget limits guesses; required.
	Budget *pake.Budget
	// MaxRuns bounds the runs that are kept, DefaultMaxRuns if 0; one source keeps at most a quarter of them. When it
	// is full the oldest run makes room, so that a flood has to be faster than a run is to end it.
	MaxRuns int
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Authority is the authority's side of all runs. It is safe for concurrent use.
type Authority struct {
	cfg AuthorityConfig

	mu    sync.Mutex
	runs  map[frame.ID]*run
	live  map[liveKey]*run
	order []*run // by age; those that ended early stay until their time
}

// liveKey: at most one run at a time for a user with a Client Identifier at a source. Who ends it with another hello
// has to name the user, and so spends the guesses that there are for her at that source.
type liveKey struct{ user, clientID, source string }

// run is kept for RunTimeout, also once it is established, so that a repeated frame has the same answer.
type run struct {
	id        frame.ID
	key       liveKey
	verifier  [sha256.Size]byte // of the binary form
	hello     [sha256.Size]byte // of the frame
	since     time.Time
	server    *pake.Server
	challenge []byte
	proving   bool // a proof is or was being checked
	proof     [frame.ProofSize]byte
	session   *Session // once the proof was right
	gone      bool
}

// NewAuthority returns an Authority, or an error that names what is missing in cfg.
func NewAuthority(cfg AuthorityConfig) (*Authority, error) {
	switch {
	case !frame.ValidName(cfg.Server):
		return nil, fmt.Errorf("mqttauth: %.80q is no name of an authority", cfg.Server)
	case cfg.Verifier == nil:
		return nil, errors.New("mqttauth: an authority needs verifiers")
	case cfg.Decoys == nil:
		return nil, errors.New("mqttauth: an authority needs decoys")
	case cfg.Budget == nil:
		return nil, errors.New("mqttauth: an authority needs a budget of guesses")
	case cfg.MaxRuns < 0:
		return nil, fmt.Errorf("mqttauth: MaxRuns is negative: %d", cfg.MaxRuns)
	}
	if cfg.MaxRuns == 0 {
		cfg.MaxRuns = DefaultMaxRuns
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Authority{cfg: cfg, runs: make(map[frame.ID]*run), live: make(map[liveKey]*run)}, nil
}

// Format writes the type and the name.
func (a *Authority) Format(f fmt.State, _ rune) {
	io.WriteString(f, "handshake.Authority{"+a.cfg.Server+"}")
}

// Answer is what came of a frame.
type Answer struct {
	// Frame goes back to the client: a challenge, or the welcome again. Nil if there is nothing to send.
	Frame []byte
	// Repeated tells that the frame had come before. Where clients have connections of their own, and this one has not
	// brought it before, it is somebody else's.
	Repeated bool
	// Session is established by the frame: its Welcome goes back to the client. Nil otherwise.
	Session *Session
	// ClientID and User are what the run's hello names, proven only once there is a Session.
	ClientID, User string
}

// Receive takes a hello or a proof that came from source: its network address without the port, say, or whatever else
// can bound guesses and runs. After an error nothing is to be sent that tells more than the end of the connection; the
// exception is a *pake.BackoffError, which is the same for users who exist and who do not.
func (a *Authority) Receive(source string, b []byte) (Answer, error) {
	f, err := frame.Parse(b)
	if err != nil {
		return Answer{}, err
	}
	switch f.Type {
	case frame.Hello:
		return a.hello(source, b)
	case frame.Proof:
		return a.proof(source, b)
	}
	return Answer{}, fmt.Errorf("%w: a %v in a run", ErrState, f.Type)
}

// Sweep ends the runs whose time is over, as every Receive does too, and returns how many are left.
func (a *Authority) Sweep() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	return len(a.runs)
}

func (a *Authority) hello(source string, b []byte) (Answer, error) {
	f, err := frame.ParseHello(b)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{ClientID: f.ClientID, User: f.User}
	digest := sha256.Sum256(b)
	if answer.Frame, err = a.known(f.Session, source, digest); answer.Frame != nil || err != nil {
		answer.Repeated = err == nil
		return answer, err
	}
	r, err := a.respond(source, &f)
	if err != nil {
		return answer, err
	}
	r.hello = digest
	answer.Frame, answer.Repeated, err = a.keep(r)
	return answer, err
}

// known returns the challenge of a run that this hello has begun already.
func (a *Authority) known(id frame.ID, source string, digest [sha256.Size]byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	r := a.runs[id]
	switch {
	case r == nil:
		return nil, nil
	case r.key.source != source || r.hello != digest:
		return nil, ErrReplay
	}
	return r.challenge, nil
}

// respond counts the guess and makes the challenge. It takes the same time for every user.
func (a *Authority) respond(source string, f *frame.HelloFrame) (*run, error) {
	stored, err := a.cfg.Verifier(f.User)
	if err != nil {
		return nil, fmt.Errorf("mqttauth: looking for a verifier: %w", err)
	}
	var digest [sha256.Size]byte
	if stored != nil {
		b, err := stored.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("mqttauth: a verifier: %w", err)
		}
		digest = sha256.Sum256(b)
	}
	v := a.cfg.Decoys.Verifier(f.User, a.cfg.Server, stored)
	i := slices.Index(f.Groups, byte(v.Group()))
	if i < 0 {
		return nil, ErrGroup
	}
	cfg := pake.Config{Group: v.Group(), Context: f.Context(), Budget: a.cfg.Budget, Source: source}
	msg1 := append([]byte{pakeVersion, pakeHello, byte(v.Group())}, f.Elements[i]...)
	msg2, server, err := pake.Respond(cfg, f.User, a.cfg.Server, v, msg1)
	if err != nil {
		return nil, err
	}
	body := msg2[3:]
	c := frame.ChallengeFrame{
		Session: f.Session, Group: f.Groups[i], Server: a.cfg.Server,
		Stretch: body[:frame.StretchSize], Element: body[frame.StretchSize:],
	}
	challenge, err := c.Append(nil)
	if err != nil {
		server.Abort()
		return nil, err
	}
	return &run{
		id: f.Session, key: liveKey{f.User, f.ClientID, source}, verifier: digest,
		since: a.cfg.Now(), server: server, challenge: challenge,
	}, nil
}

// keep files a run in, and ends those that it takes the place of. It returns the challenge to send, and whether that is
// of a run that was there already.
func (a *Authority) keep(r *run) (challenge []byte, repeated bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	if other := a.runs[r.id]; other != nil { // the same hello, twice at once
		r.server.Abort()
		if other.key != r.key || other.hello != r.hello {
			return nil, false, ErrReplay
		}
		return other.challenge, true, nil
	}
	if other := a.live[r.key]; other != nil {
		a.drop(other)
	}
	a.makeRoom(r.key.source)
	a.runs[r.id], a.live[r.key] = r, r
	a.order = append(a.order, r)
	return r.challenge, false, nil
}

// makeRoom drops the oldest runs of a source that has its share, and the oldest of all when there is no room.
func (a *Authority) makeRoom(source string) {
	share := max(a.cfg.MaxRuns/4, 1)
	var own int
	var oldest *run
	if len(a.runs) >= share { // below that nobody can have a share
		for _, r := range a.order {
			if r.gone || r.key.source != source {
				continue
			}
			if own++; oldest == nil {
				oldest = r
			}
		}
	}
	if own >= share {
		a.drop(oldest)
	}
	for i := 0; len(a.runs) >= a.cfg.MaxRuns && i < len(a.order); i++ {
		a.drop(a.order[i])
	}
	if len(a.order) >= 2*a.cfg.MaxRuns {
		a.order = slices.DeleteFunc(a.order, func(r *run) bool { return r.gone })
	}
}

// expire drops the runs whose time is over.
func (a *Authority) expire() {
	now := a.cfg.Now()
	for len(a.order) > 0 && (a.order[0].gone || now.Sub(a.order[0].since) >= RunTimeout) {
		a.drop(a.order[0])
		a.order[0] = nil
		a.order = a.order[1:]
	}
}

// drop ends a run. It waits for nothing: a proof that is being checked finds it gone.
func (a *Authority) drop(r *run) {
	if r.gone {
		return
	}
	r.gone = true
	delete(a.runs, r.id)
	if a.live[r.key] == r {
		delete(a.live, r.key)
	}
	if !r.proving {
		r.server.Abort()
	}
}

func (a *Authority) proof(source string, b []byte) (Answer, error) {
	f, err := frame.ParseProof(b)
	if err != nil {
		return Answer{}, err
	}
	r, established, err := a.claim(source, &f)
	if err != nil {
		return Answer{}, err
	}
	if r == nil {
		return again(established), nil
	}
	session, err := a.finish(r, &f)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && r.gone {
		err = ErrNoRun
	}
	if err != nil {
		a.drop(r)
		return Answer{}, err
	}
	r.session = session
	return Answer{Session: session, ClientID: r.key.clientID, User: r.key.user}, nil
}

// claim finds the run of a proof and makes sure that only one proof is tried. If it is the one that was tried
// already, there is no run to finish, but perhaps a session.
func (a *Authority) claim(source string, f *frame.ProofFrame) (*run, *Session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	r := a.runs[f.Session]
	if r == nil || r.key.source != source {
		return nil, nil, ErrNoRun
	}
	if r.proving {
		if subtle.ConstantTimeCompare(r.proof[:], f.Proof[:]) != 1 {
			return nil, nil, ErrReplay
		}
		return nil, r.session, nil
	}
	r.proving, r.proof = true, f.Proof
	return r, nil, nil
}

// again answers a proof that was answered before.
func again(s *Session) Answer {
	if s == nil {
		return Answer{Repeated: true}
	}
	return Answer{Frame: s.made(), Repeated: true, ClientID: s.ClientID, User: s.User}
}

func (a *Authority) finish(r *run, f *frame.ProofFrame) (*Session, error) {
	msg4, sk, err := r.server.Finish(append([]byte{pakeVersion, pakeProof}, f.Proof[:]...))
	if err != nil {
		return nil, err
	}
	defer clear(sk)
	keys, err := newKeys(r.id, sk)
	if err != nil {
		return nil, err
	}
	s := &Session{
		Keys: keys, User: r.key.user, ClientID: r.key.clientID, Source: r.key.source, Since: a.cfg.Now(), Verifier: r.verifier,
	}
	copy(s.proof[:], msg4[2:])
	return s, nil
}
