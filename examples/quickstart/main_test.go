package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// quickstart runs the program and returns what it printed.
func quickstart(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, complaints bytes.Buffer
	// The last -timeout counts; this one leaves the time that a machine with more to do may need.
	err := run(t.Context(), append([]string{"-timeout", "5m"}, args...), &out, &complaints)
	return out.String() + complaints.String(), err
}

func TestEmbedded(t *testing.T) {
	for _, name := range []string{"aes", "present"} {
		t.Run(name, func(t *testing.T) {
			out, err := quickstart(t, "-scheme", name)
			require.NoError(t, err, out)
			require.Equal(t, 4, strings.Count(out, "  application   "+opening))
			require.Equal(t, 2, strings.Count(out, "  eavesdropper  "+opening), "he reads what is plain, and only that")
			require.Equal(t, 2, strings.Count(out, "  broker        "+opening))
			for _, refusal := range []string{"ErrAuthentication", "ErrReplay", "ErrUnknownKey", "ErrNotSealed"} {
				require.Equal(t, 2, strings.Count(out, "refused: "+refusal), "once for each version of MQTT")
			}
			require.Contains(t, out, "All of it as promised.")
		})
	}
	out, err := quickstart(t)
	require.NoError(t, err)
	require.Contains(t, out, "scheme  aes\n", "what it does without options")
}

// TestTokens runs the demo of ace with its own server and broker. Its tokens live long enough for a machine that has
// more to do.
func TestTokens(t *testing.T) {
	out, err := quickstart(t, "-scheme", "ace", "-lifetime", "10s")
	require.NoError(t, err, out)
	require.Equal(t, 3, strings.Count(out, "  console       "+opening))
	require.Contains(t, out, "no token      refused")
	require.Contains(t, out, "stolen token  refused")
	require.Contains(t, out, "not authorized")
	require.Regexp(t, `console +has a new token`, out)
	require.Regexp(t, `sensor +is cut off`, out)
	require.Contains(t, out, "All of it as promised.")
}

// TestSeesWhatIsMissing takes the sealing away: the program must notice.
func TestSeesWhatIsMissing(t *testing.T) {
	to, stop, err := embedded()
	require.NoError(t, err)
	defer stop()
	s := stage{out: new(bytes.Buffer), server: to, base: "mqttsec/test"}
	require.ErrorContains(t, showSealing(t.Context(), s, nothing), "could read a sealed message")
}

// TestRefusesWrongOptions wants one line that names what is wrong, and the error
// that ends the program with 2.
func TestRefusesWrongOptions(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no URL":                {[]string{"-broker", "localhost"}, `-broker "localhost"`},
		"no port":               {[]string{"-broker", "tcp://localhost"}, "name the port"},
		"unknown URL scheme":    {[]string{"-broker", "coap://localhost"}, `"coap"`},
		"unknown scheme":        {[]string{"-scheme", "rot13"}, `-scheme "rot13"`},
		"user without broker":   {[]string{"-user", "ann"}, "-user"},
		"no such file":          {[]string{"-broker", "tls://localhost:8883", "-cafile", "none.pem"}, "none.pem"},
		"no certificate inside": {[]string{"-broker", "tls://localhost:8883", "-cafile", "main.go"}, "no certificate"},
		"argument":              {[]string{"tcp://localhost"}, `"tcp://localhost"`},
		"unknown option":        {[]string{"-fast"}, "-fast"},
		"no duration":           {[]string{"-timeout", "long"}, "-timeout"},
		"no whole seconds":      {[]string{"-lifetime", "1500ms"}, "-lifetime 1.5s"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := quickstart(t, test.args...)
			require.ErrorIs(t, err, errUsage)
			require.Contains(t, out, test.says)
		})
	}
}

func TestSaysThatTheBrokerIsNotThere(t *testing.T) {
	_, err := quickstart(t, "-broker", "tcp://127.0.0.1:1")
	require.ErrorContains(t, err, "connect to tcp://127.0.0.1:")
}

func TestGivesUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	_, err = quickstart(t, "-broker", "tcp://"+silent.Addr().String(), "-timeout", "50ms")
	require.ErrorContains(t, err, "gave up after 50ms")
}

func TestEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("told to"))
	err := run(ctx, nil, new(bytes.Buffer), new(bytes.Buffer))
	require.ErrorContains(t, err, "told to")
}

func TestHelp(t *testing.T) {
	help, err := quickstart(t, "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, option := range []string{"-broker", "-user", "-password", "-cafile", "-scheme"} {
		require.Contains(t, help, option)
	}
	for name, demo := range demos {
		require.Regexp(t, name+" +"+regexp.QuoteMeta(demo.about), help)
	}
}

// unprotected is a scheme that does nothing.
type unprotected struct{}

func (unprotected) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig { return cfg }

func (unprotected) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return opts }

func nothing(aesmsg.Key, func(aesmsg.Rejection)) (scheme, error) { return unprotected{}, nil }
