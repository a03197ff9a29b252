package mqttauth

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
)

// beside is an authority that is an ordinary client of a broker that knows nothing of it.
type beside struct {
	*half
	sessions sync.Map // frame.ID to *handshake.Session
	deaf     atomic.Bool
	noise    [][]byte // which somebody publishes before each answer
}

func newBeside(t testing.TB) *beside {
	t.Helper()
	b := &beside{half: bareHalf(t, misdeeds{})}
	b.authority = newAuthority(t, false)
	b.ticket = operation.Result{Username: "mqttauth-ticket-1", Until: time.Now().Add(time.Hour)}
	var err error
	b.Embedded, err = brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { b.Embedded.Close() })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.addr = inner.Addr().String()
	require.NoError(t, b.Serve(recording{inner, b.half}))

	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(b.Embedded.URL(brokers.TCP).String()).SetClientID(uniqueID()).SetOrderMatters(true))
	require.NoError(t, await(c.Connect()))
	t.Cleanup(func() { c.Disconnect(0) })
	require.NoError(t, await(c.Subscribe(defaultAuthenticationTopic, 1, b.receive)))
	return b
}

// forgets awaits that the broker has cleared up behind a client. mochi does so late, and takes the subscriptions of the
// client's next connection with it if that is quicker.
func (b *beside) forgets(t testing.TB, id string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, known := b.Server.Clients.Get(id)
		return !known
	}, patience, time.Millisecond)
}

// receive takes a client's frame.
func (b *beside) receive(c mqtt.Client, m mqtt.Message) {
	f, err := frame.Parse(m.Payload())
	if err != nil || b.deaf.Load() {
		return
	}
	if f.Type == frame.Request {
		b.request(c, f.Session, m.Payload())
		return
	}
	answer, err := b.authority.Receive("any", m.Payload())
	if err != nil {
		return
	}
	reply := answer.Frame
	if s := answer.Session; s != nil {
		b.sessions.Store(f.Session, s)
		b.mu.Lock()
		b.runs++
		b.mu.Unlock()
		if reply, err = s.Welcome(handshake.Welcome{Time: time.Now(), MaxTokens: 64, MaxClaim: time.Hour}); err != nil {
			b.t.Error(err)
		}
	}
	if reply != nil {
		for _, noise := range b.noise {
			own := bytes.Clone(noise) // for the run as it is, and as if it were of it
			if len(own) > frame.HeaderSize {
				copy(own[2:], f.Session[:])
				if head, err := frame.Parse(own); err != nil || head.Type == f.Type+1 {
					own = nil
				}
			}
			c.Publish("mqttauth/c/"+answer.ClientID, 1, false, noise)
			c.Publish("mqttauth/c/"+answer.ClientID, 1, false, own)
		}
		c.Publish("mqttauth/c/"+answer.ClientID, 1, false, reply)
	}
}

func (b *beside) request(c mqtt.Client, id frame.ID, octets []byte) {
	known, ok := b.sessions.Load(id)
	if !ok {
		return
	}
	s := known.(*handshake.Session)
	op, err := s.Request(octets)
	if err != nil || op.Octets == nil {
		return
	}
	response, err := s.Respond(op.Counter, b.operate(s, op.Octets))
	if err != nil {
		b.t.Error(err)
	}
	c.Publish("mqttauth/c/"+s.ClientID, 0, false, response)
}

func (b *beside) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs
}

// TestTicketServesLaterConnections: the first connection costs a run, the next ones none; the broker gets the
// ticket's name and password and never the user's.
func TestTicketServesLaterConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		b := newBeside(t)
		id := uniqueID()
		c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext = true, id, true })
		for range 3 {
			p, err := connect(t, c, b.url(), id)
			require.NoError(t, err)
			require.NoError(t, p.subscribe("site/#"))
			require.NoError(t, p.publish("site/7", "21.5"))
			require.Equal(t, "site/7 21.5", next(t, p))
			p.close()
			b.forgets(t, id)
		}
		require.Equal(t, 1, b.count())
		went := string(b.recording())
		require.Contains(t, went, "mqttauth-ticket-1")
		require.NotContains(t, went, string(testPassword))

		b.mu.Lock()
		b.ticket = operation.Result{Username: "mqttauth-ticket-2", Until: time.Now().Add(time.Hour)}
		b.mu.Unlock()
		_, err := c.Claim(testContext(t), mustOwner(t), time.Hour)
		require.NoError(t, err, "on a connection of its own")
		require.Equal(t, 2, b.count())
		_, err = connect(t, c, b.url(), id)
		require.NoError(t, err)
		require.Contains(t, string(b.recording()), "mqttauth-ticket-2")
	})
}

func mustOwner(t testing.TB) OwnerToken {
	t.Helper()
	o, err := NewOwnerToken("site/#")
	require.NoError(t, err)
	return o
}

// TestTicketExpiresAndFollowsTheWallet: one that ends soon, or was issued for other tokens, is replaced.
func TestTicketExpiresAndFollowsTheWallet(t *testing.T) {
	b := newBeside(t)
	id := uniqueID()
	wallet := NewWallet()
	c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext, c.Wallet = true, id, true, wallet })
	login := func(want int) {
		t.Helper()
		p, err := connectV3(t, c, b.url(), id)
		require.NoError(t, err)
		p.close()
		b.forgets(t, id)
		require.Equal(t, want, b.count())
	}
	login(1)
	login(1)
	o := mustOwner(t)
	_, err := c.Claim(testContext(t), o, time.Hour)
	require.NoError(t, err)
	login(2)
	tok, err := o.Auth1("site/7", time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.NoError(t, wallet.Add(tok))
	login(3)
	require.Contains(t, b.grants(), "Auth1 site/7")
	login(3)
	c.mu.Lock()
	c.ticket.until = time.Now()
	c.mu.Unlock()
	login(4)
}

// TestTicketThatTheBrokerRefuses is dropped, and the next connection begins anew.
func TestTicketThatTheBrokerRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		b := newBeside(t)
		id := uniqueID()
		c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext = true, id, true })
		p, err := connect(t, c, b.url(), id)
		require.NoError(t, err)
		p.close()
		b.forgets(t, id)
		require.NotNil(t, c.validTicket())
		code := byte(5)
		if _, ok := connectIsV5(t); ok {
			code = 0x87
		}
		_, err = connect(t, c, newHalf(t, misdeeds{connack: code}).url(), id)
		require.Error(t, err)
		require.Nil(t, c.validTicket())
		_, err = connect(t, c, b.url(), id)
		require.NoError(t, err)
		require.Equal(t, 2, b.count())
	})
}

func TestTicketNeedsTLS(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		b := newBeside(t)
		id := uniqueID()
		c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID = true, id })
		_, err := connect(t, c, b.url(), id)
		require.ErrorIs(t, err, ErrPlaintext)
		require.Zero(t, b.count(), "no account is asked for that cannot be used")
	})
	b := newBeside(t)
	id := uniqueID()
	c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID = true, id })
	for _, transport := range []string{brokers.TLS, brokers.WSS} {
		opts := mqtt.NewClientOptions().AddBroker(b.Embedded.URL(transport).String()).SetClientID(id).
			SetTLSConfig(&tls.Config{RootCAs: b.RootCAs()})
		client := mqtt.NewClient(c.WrapV3(opts))
		require.NoError(t, await(client.Connect()), transport)
		client.Disconnect(0)
	}
}

// TestTwoPhasesWithTheWrongPassword: the authority is silent, and the client says what that most likely means.
func TestTwoPhasesWithTheWrongPassword(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, connect connector) {
		b := newBeside(t)
		id := uniqueID()
		unanswered(t, func(limit time.Duration) error {
			c := newClient(t, func(c *Config) {
				c.TwoPhase, c.ClientID, c.AllowPlaintext, c.Timeout = true, id, true, limit
				c.Password = []byte("wrong")
			})
			_, err := connect(t, c, b.url(), id)
			return err
		})
	})
}

// TestNoiseOnTheTemporaryTopic: frames of other runs, of the wrong type and what is none do not keep a client out.
func TestNoiseOnTheTemporaryTopic(t *testing.T) {
	b := newBeside(t)
	challenge, welcome := recordedRun(t)
	b.noise = [][]byte{nil, []byte("x"), challenge, welcome, (&frame.ProofFrame{}).Append(nil)}
	id := uniqueID()
	c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext = true, id, true })
	_, err := connectV3(t, c, b.url(), id)
	require.NoError(t, err)
	require.Equal(t, 1, b.count())
}

// TestFirstPhaseRefused: a broker that does not let the first phase in, or ends it, is no authority that is silent.
func TestFirstPhaseRefused(t *testing.T) {
	suback := func(codes ...byte) func(uint16) (wire.Packet, error) {
		return func(id uint16) (wire.Packet, error) {
			return (&wire.SubackPacket{Type: wire.Suback, ID: id, Codes: codes}).Append(nil, wire.V311)
		}
	}
	for name, c := range map[string]struct {
		connack byte
		suback  func(id uint16) (wire.Packet, error)
		want    string
	}{
		"account":      {5, nil, "refused Config.Bootstrap"},
		"ended":        {0, nil, "ended the first phase"},
		"subscription": {0, suback(0x80), "refused the subscription"},
		"two codes":    {0, suback(1, 1), "refused the subscription"},
		"another's":    {0, func(id uint16) (wire.Packet, error) { return suback(1)(id + 1) }, "refused the subscription"},
		"ended later":  {0, suback(1), "ended the first phase"},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				_, _ = wire.Read(far, 1<<16)
				p, _ := (&wire.ConnackPacket{Code: c.connack}).Append(nil, wire.V311)
				_, _ = far.Write(p)
				if c.connack != 0 {
					return
				}
				p, err := wire.Read(far, 1<<16)
				if err != nil || c.suback == nil {
					return
				}
				m, _ := wire.ParseSubscribe(p, wire.V311)
				p, _ = c.suback(m.ID)
				_, _ = far.Write(p)
				_, _ = wire.Read(far, 1<<16) // the hello
			}()
			client := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext = true, "device", true })
			_, err := client.first(testContext(t), near)
			require.ErrorIs(t, err, ErrNotConnected)
			require.ErrorContains(t, err, c.want)
			near.Close()
		})
	}
}

// TestRogueAuthorityAnswersFirst: it has no verifier, and its guess is all it gets. What it publishes before there is
// a run, or with another session, or retained, is not even looked at.
func TestRogueAuthorityAnswersFirst(t *testing.T) {
	b := newBeside(t)
	id := uniqueID()
	rogue := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(b.Embedded.URL(brokers.TCP).String()).SetClientID(uniqueID()))
	require.NoError(t, await(rogue.Connect()))
	t.Cleanup(func() { rogue.Disconnect(0) })
	require.NoError(t, await(rogue.Publish("mqttauth/c/"+id, 1, true, []byte("retained"))))
	garbage := frame.ProofFrame{Session: frame.ID{1}}
	require.NoError(t, await(rogue.Publish("mqttauth/c/"+id, 1, true, garbage.Append(nil))))

	c := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext, c.Timeout = true, id, true, patience })
	p, err := connectV3(t, c, b.url(), id)
	require.NoError(t, err)
	p.close()

	false1 := newAuthority(t, true)
	require.NoError(t, await(rogue.Subscribe(defaultAuthenticationTopic, 1, func(r mqtt.Client, m mqtt.Message) {
		f, err := frame.Parse(m.Payload())
		if err != nil {
			return
		}
		if f.Type == frame.Hello {
			if answer, err := false1.Receive("any", m.Payload()); err == nil {
				r.Publish("mqttauth/c/"+id, 1, false, answer.Frame)
			}
		}
		if f.Type == frame.Proof {
			forged, _ := (&frame.WelcomeFrame{Session: f.Session, Sealed: make([]byte, 36)}).Append(nil)
			r.Publish("mqttauth/c/"+id, 1, false, forged)
		}
	})))
	b.deaf.Store(true) // the true one is late, or its answers are lost
	c = newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext, c.Timeout = true, id, true, patience })
	_, err = connectV3(t, c, b.url(), id)
	require.ErrorIs(t, err, ErrUnproved)
}

func TestTwoPhaseConfig(t *testing.T) {
	cfg := testConfig()
	cfg.TwoPhase = true
	_, err := New(cfg)
	require.ErrorIs(t, err, ErrClientID)
	cfg = testConfig()
	cfg.AllowPlaintext = true
	_, err = New(cfg)
	require.Error(t, err)
	for name, change := range map[string]func(*Config){
		"topic":     func(c *Config) { c.AuthenticationTopic = "a/#" },
		"temporary": func(c *Config) { c.TemporaryTopic = "mqttauth/c" },
		"wildcard":  func(c *Config) { c.TemporaryTopic = "+/%c" },
		"the same":  func(c *Config) { c.ClientID, c.AuthenticationTopic, c.TemporaryTopic = "x", "x", "%c" },
		"timeout":   func(c *Config) { c.Timeout = time.Millisecond },
		"client":    func(c *Config) { c.ClientID = "a/b" },
		"user":      func(c *Config) { c.User = "" },
		"password":  func(c *Config) { c.Password = nil },
		"server":    func(c *Config) { c.Server = "" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			change(&cfg)
			_, err := New(cfg)
			require.Error(t, err)
		})
	}
}

// TestPasswordInCONNECTIsALeak: an application that sets it twice sends it in the clear.
func TestPasswordInCONNECTIsALeak(t *testing.T) {
	h := newHalf(t, misdeeds{})
	c := newClient(t)
	opts := mqtt.NewClientOptions().AddBroker(h.url().String()).SetClientID(uniqueID()).
		SetUsername(testUser).SetPassword(string(testPassword))
	require.ErrorIs(t, await(mqtt.NewClient(c.WrapV3(opts)).Connect()), ErrLeak)
	require.NotContains(t, string(h.recording()), string(testPassword))

	failed := make(chan error, 1)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{h.url()}, ConnectUsername: testUser, ConnectPassword: testPassword,
		OnConnectError: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	}
	cfg.ClientID = uniqueID()
	m, err := autopaho.NewConnection(t.Context(), c.Wrap(cfg))
	require.NoError(t, err)
	require.ErrorIs(t, <-failed, ErrLeak)
	require.NoError(t, m.Disconnect(t.Context()))
	require.NotContains(t, string(h.recording()), string(testPassword))
}
