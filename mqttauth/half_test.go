package mqttauth

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/seal"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
	"github.com/mqttsec/mqttsec/pake"
)

const (
	testServer = "broker.test"
	testUser   = "alice"
)

var (
	testPassword = []byte("correct horse battery staple")
	quick        = pake.Stretch{Time: 1, Memory: 1024, Threads: 1}
)

func testConfig() Config {
	return Config{User: testUser, Password: testPassword, Server: testServer, Stretch: quick, Timeout: patience}
}

// misdeeds are what a half does wrong, where a test wants an attacker in its place.
type misdeeds struct {
	success      bool // CONNACK success at once, without a handshake
	noWelcome    bool // CONNACK success after the handshake, without the welcome
	otherCode    byte // a code in CONNACK that the welcome does not have (v5)
	otherSession bool // the same with Session Present
	silent       bool // no answer to hello
	silentProof  bool // no answer to a proof
	wrongPass    bool // verifiers of another password
	spoil        func(frame.Type, []byte) []byte
	authReason   byte   // of the AUTH with the challenge, in place of "continue authentication" (v5)
	authMethod   string // the same, in place of the method's name
	dropRequests int    // that many requests get no answer
	connack      byte
	refusal      byte      // no misdeed: who has presented nothing is refused with this code, and may present then
	hop          *seal.Hop // no misdeed: what payloads are sealed with
}

// half is a broker half that is just enough for tests, in front of an embedded broker.
type half struct {
	*brokers.Embedded
	t         testing.TB
	authority *handshake.Authority
	misdeeds  misdeeds
	addr      string

	mu       sync.Mutex
	wire     bytes.Buffer // all that went over the wire, both directions
	claims   map[string]*claim
	revoked  map[token.ID]bool
	used     map[token.ID]string
	granted  []string // kind and filter
	requests int
	sessions []*handshake.Session
	max      uint16
	ticket   operation.Result
	links    sync.Map  // *layer.Conn to *halfLink
	hop      *seal.Hop // nil: payloads pass as they are
	runs     int       // proofs that were right, of an authority beside a broker
}

type claim struct {
	owner string
	epoch uint32
	roots token.Roots
	until time.Time
}

func newHalf(t testing.TB, m misdeeds) *half {
	t.Helper()
	h := bareHalf(t, m)
	var err error
	h.Embedded, err = brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { h.Embedded.Close() })
	h.authority = newAuthority(t, m.wrongPass)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h.addr = inner.Addr().String()
	l, err := layer.NewListener(recording{inner, h}, layer.ListenerConfig{
		Filter: func(_ context.Context, conn net.Conn) (layer.Filter, error) { return &halfLink{half: h}, nil },
	})
	require.NoError(t, err)
	h.hop = m.hop
	require.NoError(t, h.Serve(hopListener{l, h}))
	return h
}

// hopListener puts hop sealing on what a listener accepts.
type hopListener struct {
	net.Listener
	half *half
}

func (l hopListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.half.hop == nil {
		return conn, err
	}
	link, _ := l.half.links.Load(conn)
	return l.half.hop.Accept(conn, link.(*halfLink).session)
}

func bareHalf(t testing.TB, m misdeeds) *half {
	return &half{
		t: t, misdeeds: m, max: 64,
		claims: map[string]*claim{}, revoked: map[token.ID]bool{}, used: map[token.ID]string{},
	}
}

func newAuthority(t testing.TB, wrongPassword bool) *handshake.Authority {
	t.Helper()
	verifiers := map[string]*pake.Verifier{}
	for _, user := range []string{testUser, "bob"} {
		password := testPassword
		if wrongPassword {
			password = []byte("a guess")
		}
		v, err := pake.NewVerifier(pake.Config{Stretch: quick}, user, testServer, password)
		require.NoError(t, err)
		verifiers[user] = v
	}
	decoys, err := pake.NewDecoys(pake.Config{Stretch: quick}, make([]byte, 32))
	require.NoError(t, err)
	budget, err := pake.NewBudget(pake.BudgetConfig{Free: 100, FreePerUser: 100, FreePerSource: 100})
	require.NoError(t, err)
	a, err := handshake.NewAuthority(handshake.AuthorityConfig{
		Server: testServer, Decoys: decoys, Budget: budget,
		Verifier: func(user string) (*pake.Verifier, error) { return verifiers[user], nil },
	})
	require.NoError(t, err)
	return a
}

// recording keeps what goes over its connections.
type recording struct {
	net.Listener
	half *half
}

func (r recording) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &recorded{conn, r.half}, nil
}

type recorded struct {
	net.Conn
	half *half
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.half.record(b[:n])
	return n, err
}

func (r *recorded) Write(b []byte) (int, error) {
	r.half.record(b)
	return r.Conn.Write(b)
}

func (r *recorded) ReadAfterTimeout() bool { return true }

func (h *half) record(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wire.Write(b)
}

func (h *half) recording() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Clone(h.wire.Bytes())
}

func (h *half) grants() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.granted)
}

// operate carries out an operation.
func (h *half) operate(s *handshake.Session, b []byte) []byte {
	o, err := operation.Parse(b)
	result := operation.Result{Code: operation.Malformed}
	if err == nil {
		h.mu.Lock()
		h.requests++
		result = h.judge(s, &o)
		h.mu.Unlock()
	}
	encoded, err := result.Encode(o.Kind)
	if err != nil {
		h.t.Error(err)
	}
	return encoded
}

func (h *half) judge(s *handshake.Session, o *operation.Operation) operation.Result {
	c := h.claims[o.Filter]
	if o.Kind != operation.Claim && o.Kind != operation.Present && o.Kind != operation.Ticket && (c == nil || c.owner != s.User) {
		return operation.Result{Code: operation.Unclaimed}
	}
	switch o.Kind {
	case operation.Claim:
		if c != nil && c.owner != s.User {
			return operation.Result{Code: operation.Taken}
		}
		c = &claim{s.User, o.Epoch, o.Roots, time.Now().Add(o.Lifetime)}
		h.claims[o.Filter] = c
		return operation.Result{Until: c.until}
	case operation.Epoch:
		c.epoch, c.roots = o.Epoch, o.Roots
		return operation.Result{Until: c.until}
	case operation.Release:
		delete(h.claims, o.Filter)
	case operation.Revoke:
		h.revoked[o.Token] = true
	case operation.Present:
		var r operation.Result
		for i := range o.Tokens {
			r.Tokens = append(r.Tokens, h.present(s, &o.Tokens[i]))
		}
		return r
	case operation.Ticket:
		if h.ticket.Username == "" {
			return operation.Result{Code: operation.Unavailable}
		}
		return h.ticket
	}
	return operation.Result{}
}

func (h *half) present(s *handshake.Session, p *token.Presentation) operation.Verdict {
	c := h.claims[p.Claim]
	if c == nil {
		return operation.Verdict{Code: operation.Unclaimed}
	}
	id, err := c.roots.Verify(c.epoch, p, s.Binding(), time.Now())
	switch {
	case err != nil:
		return operation.Verdict{Code: operation.CodeOf(err)}
	case !time.Now().Before(c.until):
		return operation.Verdict{Code: operation.Expired}
	case h.revoked[id]:
		return operation.Verdict{Code: operation.Revoked}
	case p.Once() && h.used[id] != "" && h.used[id] != s.User:
		return operation.Verdict{Code: operation.Used}
	}
	h.used[id] = s.User
	h.granted = append(h.granted, p.Kind.String()+" "+p.Filter())
	return operation.Verdict{Until: p.Expires()}
}

// halfLink is one connection of a half.
type halfLink struct {
	half    *half
	connect []byte
	client  string
	session *handshake.Session
}

func (l *halfLink) Closed() {}

func (l *halfLink) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	switch p.Type() {
	case wire.Connect:
		return nil, l.begin(c, p)
	case wire.Auth:
		m, err := wire.ParseReason(p, c.Version())
		if err != nil {
			return nil, err
		}
		data, _ := m.Properties.Bytes(wire.AuthenticationData)
		return nil, l.frame(c, data)
	case wire.Publish:
		m, err := wire.ParsePublish(p, c.Version())
		if err != nil || string(m.Topic) != defaultAuthenticationTopic {
			return p, err
		}
		if m.QoS == 1 {
			ack, _ := (&wire.AckPacket{Type: wire.Puback, ID: m.ID}).Append(nil, c.Version())
			if err := c.Send(ack); err != nil {
				return nil, err
			}
		}
		return nil, l.frame(c, m.Payload)
	case wire.Subscribe:
		m, err := wire.ParseSubscribe(p, c.Version())
		if err != nil || string(m.Subscriptions[0].Filter) != "mqttauth/c/"+l.client {
			return p, err
		}
		ack, _ := (&wire.SubackPacket{Type: wire.Suback, ID: m.ID, Codes: []byte{1}}).Append(nil, c.Version())
		return nil, c.Send(ack)
	}
	return p, nil
}

func (l *halfLink) begin(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return err
	}
	l.client = string(m.ClientID)
	l.half.links.Store(c, l)
	hello, _ := m.Properties.Bytes(wire.AuthenticationData)
	hello = bytes.Clone(hello)
	m.Properties = m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	if l.connect, err = m.Append(nil); err != nil {
		return err
	}
	bad := l.half.misdeeds
	if bad.connack != 0 {
		ack, _ := (&wire.ConnackPacket{Code: bad.connack}).Append(nil, m.Version)
		return c.End(layer.ErrProtocol, ack)
	}
	if bad.success {
		return c.Release(l.connect)
	}
	if m.Version != wire.V5 {
		ack, _ := (&wire.ConnackPacket{}).Append(nil, m.Version)
		return c.Send(ack)
	}
	return l.frame(c, hello)
}

func (l *halfLink) frame(c *layer.Conn, b []byte) error {
	f, err := frame.Parse(b)
	if err != nil {
		return c.End(err, nil)
	}
	bad := &l.half.misdeeds
	switch {
	case bad.success: // it knows nothing of all this
		return nil
	case f.Type == frame.Request:
		return l.request(c, b)
	case f.Type == frame.Hello && bad.silent, f.Type == frame.Proof && bad.silentProof:
		return nil
	}
	answer, err := l.half.authority.Receive("test", b)
	if bad.wrongPass && f.Type == frame.Proof {
		forged, _ := (&frame.WelcomeFrame{Session: f.Session, Sealed: make([]byte, 36)}).Append(nil)
		return l.forge(c, forged)
	}
	if err != nil {
		return c.End(err, nil)
	}
	if answer.Session != nil {
		l.session = answer.Session
		if bad.refusal != 0 && len(l.half.grants()) == 0 {
			return l.refuse(c, bad.refusal)
		}
		return c.Release(l.connect)
	}
	return l.say(c, f.Type+1, answer.Frame)
}

// refuse says no in the welcome, and takes requests all the same.
func (l *halfLink) refuse(c *layer.Conn, code byte) error {
	welcome, err := l.session.Welcome(handshake.Welcome{Time: time.Now(), ReturnCode: code, MaxTokens: l.half.max})
	if err != nil {
		return err
	}
	if c.Version() != wire.V5 {
		return l.say(c, frame.Welcome, welcome)
	}
	m := wire.ConnackPacket{Code: code}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, welcome)
	p, err := m.Append(nil, wire.V5)
	if err != nil {
		return err
	}
	return c.Send(p)
}

// forge sends a welcome in the way of the version.
func (l *halfLink) forge(c *layer.Conn, b []byte) error {
	if c.Version() != wire.V5 {
		return l.say(c, frame.Welcome, b)
	}
	m := wire.ConnackPacket{}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, b)
	p, err := m.Append(nil, wire.V5)
	if err != nil {
		return err
	}
	return c.Send(p)
}

// say sends one of our frames in the way of the version.
func (l *halfLink) say(c *layer.Conn, t frame.Type, b []byte) error {
	if spoil := l.half.misdeeds.spoil; spoil != nil {
		if b = spoil(t, b); b == nil {
			return nil
		}
	}
	if t == frame.Challenge && c.Version() == wire.V5 {
		bad := l.half.misdeeds
		m := wire.ReasonPacket{Type: wire.Auth, Reason: cmp.Or(bad.authReason, wire.ContinueAuthentication)}
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(cmp.Or(bad.authMethod, method)))
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationData, b)
		p, err := m.Append(nil, wire.V5)
		if err != nil {
			return err
		}
		return c.Send(p)
	}
	m := wire.PublishPacket{Topic: []byte("mqttauth/c/" + l.client), Payload: b}
	p, err := m.Append(nil, c.Version())
	if err != nil {
		return err
	}
	return c.Send(p)
}

func (l *halfLink) request(c *layer.Conn, b []byte) error {
	if l.session == nil {
		return c.End(layer.ErrProtocol, nil)
	}
	op, err := l.session.Request(b)
	if err != nil {
		return nil
	}
	if op.Octets == nil && op.Repeat == nil {
		return nil
	}
	response := op.Repeat
	if op.Octets != nil {
		if response, err = l.session.Respond(op.Counter, l.half.operate(l.session, op.Octets)); err != nil {
			return err
		}
	}
	l.half.mu.Lock()
	drop := l.half.misdeeds.dropRequests > 0
	l.half.misdeeds.dropRequests--
	l.half.mu.Unlock()
	if drop {
		return nil
	}
	return l.say(c, frame.Response, response)
}

func (l *halfLink) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connack || l.half.misdeeds.success {
		return p, nil
	}
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil {
		return nil, err
	}
	welcome, err := l.session.Welcome(handshake.Welcome{
		Time: time.Now(), SessionPresent: m.SessionPresent, ReturnCode: m.Code, MaxTokens: l.half.max, MaxClaim: time.Hour,
	})
	if err != nil {
		return nil, err
	}
	l.half.mu.Lock()
	l.half.sessions = append(l.half.sessions, l.session)
	l.half.mu.Unlock()
	if c.Version() != wire.V5 {
		return nil, l.say(c, frame.Welcome, welcome)
	}
	if spoil := l.half.misdeeds.spoil; spoil != nil {
		welcome = spoil(frame.Welcome, welcome)
	}
	if !l.half.misdeeds.noWelcome {
		m.Properties = bytes.Clone(m.Properties)
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method))
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationData, welcome)
	}
	m.Code |= l.half.misdeeds.otherCode
	m.SessionPresent = m.SessionPresent || l.half.misdeeds.otherSession
	return m.Append(nil, c.Version())
}
