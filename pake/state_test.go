package pake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// pair is a run that a test drives by hand.
type pair struct {
	client                 *Client
	server                 *Server
	msg1, msg2, msg3, msg4 []byte
}

// startPair runs the first two messages.
func startPair(t testing.TB, cfg Config) *pair {
	t.Helper()
	var p pair
	var err error
	p.msg1, p.client, err = Start(cfg, "alice", "broker", password)
	require.NoError(t, err)
	p.msg2, p.server, err = Respond(cfg, "alice", "broker", enrol(t, cfg), p.msg1)
	require.NoError(t, err)
	return &p
}

func (p *pair) reply(t testing.TB) {
	t.Helper()
	var err error
	p.msg3, err = p.client.Reply(p.msg2)
	require.NoError(t, err)
}

func (p *pair) serverFinish(t testing.TB) {
	t.Helper()
	var err error
	p.msg4, _, err = p.server.Finish(p.msg3)
	require.NoError(t, err)
}

// requireEnded checks that the client or server is of no more use and that it
// holds no secret.
func (p *pair) requireClientEnded(t testing.TB) {
	t.Helper()
	require.Zero(t, p.client.x)
	require.Empty(t, bytes.Trim(p.client.password, "\x00"))
	require.Nil(t, p.client.transcript.octets)
	msg3, err := p.client.Reply(p.msg2)
	require.ErrorIs(t, err, ErrState)
	require.Nil(t, msg3)
	key, err := p.client.Finish(p.msg4)
	require.ErrorIs(t, err, ErrState)
	require.Nil(t, key)
}

func (p *pair) requireServerEnded(t testing.TB) {
	t.Helper()
	require.Nil(t, p.server.transcript.octets)
	msg4, key, err := p.server.Finish(p.msg3)
	require.ErrorIs(t, err, ErrState)
	require.Nil(t, msg4)
	require.Nil(t, key)
}

func TestStatesServeOnce(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		t.Run(g.String()+" after success", func(t *testing.T) {
			p := startPair(t, cfg)
			p.reply(t)
			p.serverFinish(t)
			_, err := p.client.Finish(p.msg4)
			require.NoError(t, err)
			p.requireClientEnded(t)
			p.requireServerEnded(t)
		})
		t.Run(g.String()+" reply twice", func(t *testing.T) {
			p := startPair(t, cfg)
			p.reply(t)
			_, err := p.client.Reply(p.msg2)
			require.ErrorIs(t, err, ErrState)
			p.serverFinish(t)
			p.requireClientEnded(t)
		})
		t.Run(g.String()+" finish first", func(t *testing.T) {
			p := startPair(t, cfg)
			_, err := p.client.Finish(encodeProof(kindWelcome, [32]byte{}))
			require.ErrorIs(t, err, ErrState)
			p.requireClientEnded(t)
		})
		t.Run(g.String()+" after a bad message 2", func(t *testing.T) {
			p := startPair(t, cfg)
			_, err := p.client.Reply(p.msg2[:5])
			require.ErrorIs(t, err, ErrMessage)
			p.requireClientEnded(t)
		})
		t.Run(g.String()+" after a bad message 3", func(t *testing.T) {
			p := startPair(t, cfg)
			p.reply(t)
			wrong := bytes.Clone(p.msg3)
			wrong[10] ^= 1
			_, _, err := p.server.Finish(wrong)
			require.ErrorIs(t, err, ErrProof)
			p.requireServerEnded(t)
		})
		t.Run(g.String()+" after a bad message 4", func(t *testing.T) {
			p := startPair(t, cfg)
			p.reply(t)
			p.serverFinish(t)
			wrong := bytes.Clone(p.msg4)
			wrong[10] ^= 1
			_, err := p.client.Finish(wrong)
			require.ErrorIs(t, err, ErrProof)
			p.requireClientEnded(t)
		})
		t.Run(g.String()+" after Abort", func(t *testing.T) {
			p := startPair(t, cfg)
			p.msg3, p.msg4 = p.msg1, p.msg1
			p.client.Abort()
			p.client.Abort()
			p.requireClientEnded(t)
			p.server.Abort()
			p.requireServerEnded(t)
		})
	}
}

func TestZeroStates(t *testing.T) {
	p := pair{client: new(Client), server: new(Server)}
	p.requireClientEnded(t)
	p.requireServerEnded(t)
	p.client.Abort()
	p.server.Abort()
}

// TestSecretsAreOverwritten looks at the memory that held them, through slices
// taken before.
func TestSecretsAreOverwritten(t *testing.T) {
	for _, g := range groups {
		p := startPair(t, quick(g))
		prepared := p.client.password
		require.Equal(t, password, prepared)
		require.NotZero(t, p.client.x)
		p.reply(t)
		require.Equal(t, make([]byte, len(prepared)), prepared, "after message 3 the password is not needed")
		require.Zero(t, p.client.x)

		clients := p.client.transcript.octets
		servers := p.server.transcript.octets
		K := servers[len(servers)-p.client.group.elementLen():]
		require.NotEqual(t, make([]byte, len(K)), K)
		require.Equal(t, clients[1:], servers[1:])
		p.serverFinish(t)
		require.Equal(t, make([]byte, len(servers)), servers)
		_, err := p.client.Finish(p.msg4)
		require.NoError(t, err)
		require.Equal(t, make([]byte, len(clients)), clients)
	}
}

// TestTranscriptDoesNotMove: a slice that grew would leave a copy of K behind.
func TestTranscriptDoesNotMove(t *testing.T) {
	p := startPair(t, Config{Context: make([]byte, 1000), Stretch: Stretch{Skip: true}})
	before := &p.client.transcript.octets[0]
	p.reply(t)
	require.Same(t, before, &p.client.transcript.octets[0])
	require.Equal(t, cap(p.server.transcript.octets), len(p.server.transcript.octets))
}

func TestConcurrentUse(t *testing.T) {
	const goroutines = 16
	cfg := quick(P256)
	race := func(f func() error) (won int64) {
		var wins atomic.Int64
		var group sync.WaitGroup
		for range goroutines {
			group.Go(func() {
				err := f()
				if err == nil {
					wins.Add(1)
					return
				}
				if err != ErrState {
					panic(err)
				}
			})
		}
		group.Wait()
		return wins.Load()
	}
	p := startPair(t, cfg)
	require.EqualValues(t, 1, race(func() error { _, err := p.client.Reply(p.msg2); return err }))

	p = startPair(t, cfg)
	p.reply(t)
	require.EqualValues(t, 1, race(func() error { _, _, err := p.server.Finish(p.msg3); return err }))

	p = startPair(t, cfg)
	p.reply(t)
	p.serverFinish(t)
	require.EqualValues(t, 1, race(func() error { _, err := p.client.Finish(p.msg4); return err }))

	p = startPair(t, cfg)
	race(func() error { p.client.Abort(); p.server.Abort(); return nil })
	p.msg3 = p.msg1
	p.requireClientEnded(t)
	p.requireServerEnded(t)
}

// TestOneVerifierManyRuns is for the race detector.
func TestOneVerifierManyRuns(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		v := enrol(t, cfg)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				r := run{client: cfg, server: cfg, verifier: v}
				if err := r.login(); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
}

// TestNothingSecretIsPrinted goes through the ways a value reaches a log.
func TestNothingSecretIsPrinted(t *testing.T) {
	cfg := Config{Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
	p := startPair(t, cfg)
	v := enrol(t, cfg)
	decoys, err := NewDecoys(cfg, bytes.Repeat([]byte("secret! "), 4))
	require.NoError(t, err)
	stored, err := v.MarshalText()
	require.NoError(t, err)
	for _, value := range []any{p.client, p.server, v, *v, decoys, *decoys, Verifier{}} {
		var log bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb, value)
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "value", value)
		if _, isVerifier := value.(interface{ Group() Group }); !isVerifier {
			encoded, err := json.Marshal(value) // a verifier's is for storage
			require.NoError(t, err)
			log.Write(encoded)
		}
		for _, secret := range [][]byte{
			password, []byte(fmt.Sprint(password)), fmt.Appendf(nil, "%x", password),
			[]byte("secret!"), fmt.Appendf(nil, "%x", "secret!"), []byte("115 101 99 114 101 116"),
			[]byte(fmt.Sprint(p.client.x)), []byte("0x"), bytes.Fields(stored)[1],
		} {
			require.NotContains(t, log.String(), string(secret), "%T", value)
		}
		require.Contains(t, log.String(), reflect.Indirect(reflect.ValueOf(value)).Type().String())
	}
}
