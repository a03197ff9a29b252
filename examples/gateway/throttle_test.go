package main

import (
	"crypto/tls"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// said is what a log of this level keeps of what happens, without the times.
func said(level slog.Level, happens func(log *slog.Logger)) string {
	b := new(lockedBuffer)
	happens(newThrottled(slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: level}))))
	time.Sleep(2 * everySecond)
	return regexp.MustCompile(`(?m)^time=\S+ `).ReplaceAllString(b.String(), "")
}

// TestOneLineASecond: of each message, whoever brings it about; how many more there were is told, also when no other
// follows.
func TestOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := said(slog.LevelInfo, func(log *slog.Logger) {
			for n := range 5 {
				log.With("identity", n).Warn("refused", "n", n)
				log.Info("not established", "n", n)
			}
			time.Sleep(2 * everySecond)
			log.Warn("refused", "n", 5)
			time.Sleep(2 * everySecond)
			log.Warn("refused", "n", 6)
		})
		require.ElementsMatch(t, []string{
			"level=WARN msg=refused identity=0 n=0", `level=INFO msg="not established" n=0`,
			"level=WARN msg=refused left_out=4", `level=INFO msg="not established" left_out=4`,
			"level=WARN msg=refused n=5", "level=WARN msg=refused n=6",
		}, strings.Split(strings.TrimSpace(text), "\n"))
	})
}

// TestWhoIsKnownIsLogged: each of those who were let in by name; those without one as strangers.
func TestWhoIsKnownIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := said(slog.LevelInfo, func(log *slog.Logger) {
			for n := range 3 {
				log.With("identity", "device").Info("admitted", "n", n)
				log.Info("revoked", "user", "alice", "n", n)
				log.With("identity", "").Info("admitted", "n", n)
			}
		})
		require.Equal(t, 3, strings.Count(text, "identity=device"))
		require.Equal(t, 3, strings.Count(text, "user=alice"))
		require.Equal(t, 1, strings.Count(text, `identity=""`))
		require.Equal(t, 1, strings.Count(text, "left_out=2"))
	})
}

// TestDebuggingLeavesNothingOut: and keeps the warnings few.
func TestDebuggingLeavesNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := said(slog.LevelDebug, func(log *slog.Logger) {
			log = log.WithGroup("g")
			for n := range 3 {
				log.Warn("refused", "n", n)
				log.Debug("over", "n", n)
			}
		})
		require.Equal(t, "level=WARN msg=refused g.n=0\nlevel=DEBUG msg=over g.n=0\nlevel=DEBUG msg=refused g.n=1\n"+
			"level=DEBUG msg=over g.n=1\nlevel=DEBUG msg=refused g.n=2\nlevel=DEBUG msg=over g.n=2\n", text)
	})
}

// TestStrangersFillNoLog: who comes again and again without a token or a password.
func TestStrangersFillNoLog(t *testing.T) {
	const times = 100
	s := newSite(t)
	s.trusts(1)
	begun := time.Now()
	r := s.startLogging(slog.LevelInfo, "mqtt://127.0.0.1:1", `
upstream: {url: %q}
drain: 0s
listeners:
  - {name: passwords, address: "127.0.0.1:0", scheme: mqttauth, mqttauth: {server: s, users: users.txt}}
  - name: tokens
    address: "127.0.0.1:0"
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: {issuer: "https://as.example", audience: [broker], algorithms: [EdDSA], keys: issuer.jwks.json}
`)
	for range times {
		require.Equal(t, wire.NotAuthorized, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
		conn, err := tls.Dial("tcp", r.listeners[1].served.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		require.Equal(t, wire.NotAuthorized, connackOn(t, conn, wire.V5))
	}
	leftOut := regexp.MustCompile(`left_out=(\d+)`)
	for _, listener := range []string{"passwords", "tokens"} {
		for _, message := range []string{"connect refused", "connection not established"} {
			var lines, out int
			require.Eventually(t, func() bool {
				lines, out = 0, 0
				for line := range strings.Lines(r.log.String()) {
					if !strings.Contains(line, strconv.Quote(message)) || !strings.Contains(line, "listener="+listener) {
						continue
					}
					if m := leftOut.FindStringSubmatch(line); m != nil {
						n, err := strconv.Atoi(m[1])
						require.NoError(t, err)
						out += n
					} else {
						lines++
					}
				}
				return lines+out == times
			}, patience, 10*time.Millisecond, message)
			require.LessOrEqual(t, lines, 1+int(time.Since(begun).Seconds()), message)
		}
	}
}
