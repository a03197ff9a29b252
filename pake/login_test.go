package pake

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogin(t *testing.T) {
	stretch := Stretch{Time: 1, Memory: 1024, Threads: 1}
	for _, g := range groups {
		for name, cfg := range map[string]Config{
			"skip":     quick(g),
			"stretch":  {Group: g, Stretch: stretch},
			"context":  {Group: g, Context: []byte("session"), Stretch: stretch},
			"defaults": {Group: g},
		} {
			t.Run(g.String()+" "+name, func(t *testing.T) {
				r := run{client: cfg, server: cfg, verifier: enrol(t, cfg)}
				r.mustLogin(t)
				again := run{client: cfg, server: cfg, verifier: r.verifier}
				again.mustLogin(t)
				require.NotEqual(t, r.clientKey, again.clientKey)
			})
		}
	}
}

func TestZeroConfigIsP256WithDefaultStretch(t *testing.T) {
	v := enrol(t, Config{})
	require.Equal(t, P256, v.Group())
	require.Equal(t, Stretch{Time: 2, Memory: 19 * 1024, Threads: 1}, v.Stretch())
}

// TestMismatchYieldsNoKey: whatever the sides disagree on, the run fails at
// message 3 or 4 (or where the message is refused), with no key on either side.
func TestMismatchYieldsNoKey(t *testing.T) {
	stretch := Stretch{Time: 1, Memory: 1024, Threads: 1}
	costly := Stretch{Time: 2, Memory: 1024, Threads: 1}
	other := func(g Group) Group { return P256 + Ristretto255 - g }
	for _, g := range groups {
		cfg := Config{Group: g, Context: []byte("session"), Stretch: stretch}
		v := enrol(t, cfg)
		withContext := func(c string) Config { c2 := cfg; c2.Context = []byte(c); return c2 }
		for name, test := range map[string]struct {
			run  run
			want error
			last int // message that was sent last
		}{
			"password":                   {run{password: []byte("wrong")}, ErrProof, 3},
			"password, another case":     {run{password: []byte(strings.ToUpper(string(password)))}, ErrProof, 3},
			"user":                       {run{user: "alicia", serversUser: "alice"}, ErrProof, 3},
			"server":                     {run{serverName: "broken", itsName: "broker"}, ErrProof, 3},
			"boundary of the names":      {run{user: "aliceb", serverName: "roker", serversUser: "alice", itsName: "broker"}, ErrProof, 3},
			"verifier of another user":   {run{user: "bob"}, ErrProof, 3},
			"verifier of another server": {run{serverName: "other"}, ErrProof, 3},
			"context":                    {run{client: withContext("Session")}, ErrProof, 3},
			"no context":                 {run{client: withContext("")}, ErrProof, 3},
			"client's group":             {run{client: Config{Group: other(g), Stretch: stretch}}, ErrMessage, 1},
			"other stretching than enrolled": {run{tamper: func(n int, m []byte) []byte {
				if n == 2 {
					m[headerLen+groupLen+4]++ // 2 passes for 1
				}
				return m
			}}, ErrProof, 3},
			"salt": {run{tamper: func(n int, m []byte) []byte {
				if n == 2 {
					m[headerLen+groupLen+recipeLen-1] ^= 1
				}
				return m
			}}, ErrProof, 3},
			"stretching below the floor": {run{client: Config{Group: g, Stretch: costly}}, ErrStretch, 2},
			"server's group": {run{tamper: func(n int, m []byte) []byte {
				if n == 2 {
					m[headerLen] = byte(other(g))
				}
				return m
			}}, ErrMessage, 2},
		} {
			t.Run(g.String()+" "+name, func(t *testing.T) {
				r := test.run
				if r.client.Group == 0 {
					r.client = cfg
				}
				r.server, r.verifier = cfg, v
				require.ErrorIs(t, r.login(), test.want)
				require.Nil(t, r.clientKey)
				require.Nil(t, r.serverKey)
				require.Nil(t, r.msg4)
				require.Equal(t, test.last, r.reached)
			})
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	skip := Stretch{Skip: true}
	for name, test := range map[string]struct {
		cfg          Config
		user, server string
		password     string
	}{
		"group":                {Config{Group: 3}, "u", "s", "p"},
		"no user":              {Config{}, "", "s", "p"},
		"no server":            {Config{}, "u", "", "p"},
		"long user":            {Config{}, long, "s", "p"},
		"long server":          {Config{}, "u", long, "p"},
		"no password":          {Config{Stretch: skip}, "u", "s", ""},
		"control character":    {Config{Stretch: skip}, "u", "s", "pass\x00word"},
		"not UTF-8":            {Config{Stretch: skip}, "u", "s", "\xff\xfe"},
		"memory in MiB":        {Config{Stretch: Stretch{Time: 1, Memory: 64, Threads: 1}}, "u", "s", "p"},
		"no passes":            {Config{Stretch: Stretch{Memory: 2048, Threads: 1}}, "u", "s", "p"},
		"no lanes":             {Config{Stretch: Stretch{Time: 1, Memory: 2048}}, "u", "s", "p"},
		"lanes without memory": {Config{Stretch: Stretch{Time: 1, Memory: 1024, Threads: 129}}, "u", "s", "p"},
		"skip and costs":       {Config{Stretch: Stretch{Time: 1, Skip: true}}, "u", "s", "p"},
		"ceiling below floor":  {Config{MaxStretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}, "u", "s", "p"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := NewVerifier(test.cfg, test.user, test.server, []byte(test.password))
			require.Error(t, err)
			require.Nil(t, v)
			msg1, client, err := Start(test.cfg, test.user, test.server, []byte(test.password))
			require.Error(t, err)
			require.Nil(t, client)
			require.Nil(t, msg1)
		})
	}
	_, _, err := Start(Config{Context: []byte(long)}, "u", "s", []byte("p"))
	require.Error(t, err)
}

func TestRespondNeedsAVerifierOfItsGroup(t *testing.T) {
	cfg := quick(P256)
	msg1, _, err := Start(cfg, "alice", "broker", password)
	require.NoError(t, err)
	for name, v := range map[string]*Verifier{
		"none": nil, "zero": {}, "another group's": enrol(t, quick(Ristretto255)),
	} {
		t.Run(name, func(t *testing.T) {
			msg2, server, err := Respond(cfg, "alice", "broker", v, msg1)
			require.Error(t, err)
			require.Nil(t, server)
			require.Nil(t, msg2)
		})
	}
	v := enrol(t, cfg)
	_, _, err = Respond(Config{Group: 9}, "alice", "broker", v, msg1)
	require.Error(t, err)
	_, _, err = Respond(cfg, "", "broker", v, msg1)
	require.Error(t, err)
}

func TestCallersPasswordMayBeOverwritten(t *testing.T) {
	cfg := quick(P256)
	v := enrol(t, cfg)
	mine := []byte(string(password))
	msg1, client, err := Start(cfg, "alice", "broker", mine)
	require.NoError(t, err)
	clear(mine)
	msg2, server, err := Respond(cfg, "alice", "broker", v, msg1)
	require.NoError(t, err)
	msg3, err := client.Reply(msg2)
	require.NoError(t, err)
	_, _, err = server.Finish(msg3)
	require.NoError(t, err)
}
