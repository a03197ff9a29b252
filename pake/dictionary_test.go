package pake

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an attacker who plays the user without a password learns, and would
// learn from a server that sent message 4 too early, and what a stolen verifier
// is good for. Covered: the offline dictionary attack on one run, and a login
// with the verifier. Not covered: online guessing (budget_test.go), guessing
// after the theft of a verifier, and a thief who plays the server, which no
// augmented PAKE prevents.

var dictionary = []string{"123456", "password", "letmein", "correct horse battery staple", "qwertz"}

// attacker is a client that knows x, and tries every password in one run.
type attacker struct {
	client *Client
	x      scalar
}

// candidates returns the finished transcript for each password.
func (a attacker) candidates(t *testing.T, msg2 []byte) map[string]*transcript {
	challenge, err := decodeStretched(msg2, kindChallenge)
	require.NoError(t, err)
	all := make(map[string]*transcript)
	for _, guess := range dictionary {
		tr := a.client.transcript
		tr.octets = append(make([]byte, 0, cap(tr.octets)), tr.octets...)
		w := challenge.recipe.exponent(&tr, a.client.group, []byte(guess))
		require.NoError(t, join(a.client.group, &tr, challenge.element, challenge.octets, &a.x, &w))
		all[guess] = &tr
	}
	return all
}

// TestEarlyMessage4AllowsAnOfflineDictionary plays a server with the fault:
// V_S goes out with Y. One run then gives away the password, and the server
// never sees a wrong V_U.
func TestEarlyMessage4AllowsAnOfflineDictionary(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		msg1, client, err := Start(cfg, "alice", "broker", []byte("no idea"))
		require.NoError(t, err)
		a := attacker{client, client.x}
		msg2, server, err := Respond(cfg, "alice", "broker", enrol(t, cfg), msg1)
		require.NoError(t, err)
		early := server.transcript.digest(tagServerProof) // the fault

		var found []string
		for guess, candidate := range a.candidates(t, msg2) {
			if candidate.digest(tagServerProof) == early {
				found = append(found, guess)
			}
		}
		require.Equal(t, []string{string(password)}, found)
	}
}

// TestMessage2FitsEveryPassword: without V_S each password explains message 2
// equally well, with a K of its own; the one test is a proof to the server.
func TestMessage2FitsEveryPassword(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		v := enrol(t, cfg)
		succeeded := 0
		for _, guess := range dictionary {
			msg1, client, err := Start(cfg, "alice", "broker", []byte("no idea"))
			require.NoError(t, err)
			a := attacker{client, client.x}
			msg2, server, err := Respond(cfg, "alice", "broker", v, msg1)
			require.NoError(t, err)
			all := a.candidates(t, msg2)
			distinct := make(map[[32]byte]bool)
			for _, candidate := range all {
				distinct[candidate.digest(tagServerProof)] = true
			}
			require.Len(t, distinct, len(dictionary))

			msg4, key, err := server.Finish(encodeProof(kindProof, all[guess].userProof()))
			if err == nil {
				succeeded++
				continue
			}
			require.ErrorIs(t, err, ErrProof)
			require.Nil(t, msg4, "a wrong proof ends the run without a message")
			require.Nil(t, key)
			// The same run does not serve a second guess.
			_, _, err = server.Finish(encodeProof(kindProof, all[string(password)].userProof()))
			require.ErrorIs(t, err, ErrState)
		}
		require.Equal(t, 1, succeeded)
	}
}

// TestTypesKeepMessage4Back: a Server gives out octets through Finish alone,
// which takes message 3; inside, V_S and the key are methods of verified, which
// only a comparison returns.
func TestTypesKeepMessage4Back(t *testing.T) {
	methods := func(v any) (names []string) {
		for m := range reflect.TypeOf(v).Methods() {
			names = append(names, m.Name)
		}
		return names
	}
	require.Equal(t, []string{"Abort", "Finish", "Format"}, methods(new(Server)))
	require.Equal(t, []string{"Abort", "Finish", "Format", "Reply"}, methods(new(Client)))
	require.Equal(t, reflect.TypeOf(func([]byte) ([]byte, []byte, error) { return nil, nil, nil }),
		reflect.TypeOf(new(Server).Finish))
	for field := range reflect.TypeFor[Server]().Fields() {
		require.False(t, field.IsExported(), field.Name)
	}

	tr, err := newTranscript("alice", "broker", nil, 65)
	require.NoError(t, err)
	unproven, err := tr.verifyUser(make([]byte, 32))
	require.ErrorIs(t, err, ErrProof)
	require.Panics(t, func() { unproven.serverProof() })
	require.Panics(t, func() { unproven.key() })
}

// TestStolenVerifierIsNoPassword: W in place of the password does not log in,
// whatever of it is used as one.
func TestStolenVerifierIsNoPassword(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		v := enrol(t, cfg)
		stolen, err := v.MarshalText()
		require.NoError(t, err)
		for _, guess := range [][]byte{stolen, bytes.Fields(stolen)[1]} {
			r := run{client: cfg, server: cfg, verifier: v, password: guess}
			require.ErrorIs(t, r.login(), ErrProof)
		}
	}
}

// TestStolenVerifierDoesNotLogIn: an X in which W cancels would, so r depends
// on X. The thief knows W and cancels it with the r of another X, with that of
// another run, and in the simplest ways.
func TestStolenVerifierDoesNotLogIn(t *testing.T) {
	for _, id := range groups {
		cfg := quick(id)
		v := enrol(t, cfg)
		g, f := v.group, v.group.order()
		a, err := f.random()
		require.NoError(t, err)
		begin := func(X element) transcript {
			tr, err := newTranscript("alice", "broker", nil, g.elementLen())
			require.NoError(t, err)
			tr.add(X)
			return tr
		}
		plain := begin(g.base(&a))
		another := begin(g.base(&scalar{31: 2}))
		zero, one := scalar{}, scalar{31: 1}
		for name, b := range map[string]scalar{
			"-r of g^a":         sub(f, zero, plain.challenge(g)),
			"-r of another run": sub(f, zero, another.challenge(g)),
			"-1":                sub(f, zero, one),
			"1":                 one,
		} {
			X := g.base(&a).mul(v.w.exp(&b)) // X·W^r = g^a, if r = -b
			msg2, server, err := Respond(cfg, "alice", "broker", v, encodeHello(g, X.appendTo(nil)))
			require.NoError(t, err, name)
			challenge, err := decodeStretched(msg2, kindChallenge)
			require.NoError(t, err, name)
			thief := begin(X)
			thief.addReceived(challenge.octets)
			inverse := f.invert(&a)
			thief.add(challenge.element.exp(&inverse))
			_, key, err := server.Finish(encodeProof(kindProof, thief.userProof()))
			require.ErrorIs(t, err, ErrProof, name)
			require.Nil(t, key)
		}
	}
}

// TestWrongServerGetsNoKey: one who does not know the verifier answers message
// 1 as well as he can; the user notices at message 4, and what he recorded does
// not tell him her password.
func TestWrongServerGetsNoKey(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		guess, err := NewVerifier(cfg, "alice", "broker", []byte("letmein"))
		require.NoError(t, err)
		msg1, client, err := Start(cfg, "alice", "broker", password)
		require.NoError(t, err)
		msg2, rogue, err := Respond(cfg, "alice", "broker", guess, msg1)
		require.NoError(t, err)
		msg3, err := client.Reply(msg2)
		require.NoError(t, err)
		_, _, err = rogue.Finish(msg3)
		require.ErrorIs(t, err, ErrProof)
		key, err := client.Finish(encodeProof(kindWelcome, [32]byte{1}))
		require.ErrorIs(t, err, ErrProof)
		require.Nil(t, key)
	}
}
