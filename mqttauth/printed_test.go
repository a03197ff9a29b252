package mqttauth

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNothingPrintsASecret: not the password, not a ticket's, not a wallet's key, whatever the verb. A Config in
// another struct's unexported field is beyond its reach.
func TestNothingPrintsASecret(t *testing.T) {
	cfg := testConfig()
	cfg.TwoPhase, cfg.ClientID = true, "c"
	cfg.Bootstrap = Account{Username: "bootstrap", Password: "another secret"}
	c, err := New(cfg)
	require.NoError(t, err)
	c.ticket = &ticket{username: "t", password: func() string { return "ticket secret" }, until: time.Now()}
	w, err := NewFileWallet(filepath.Join(t.TempDir(), "w"), walletKey)
	require.NoError(t, err)
	type deep struct{ v any }
	values := []any{cfg, &cfg, cfg.Bootstrap, c, w, c.ticket, deep{c}, deep{w}, []Config{cfg}}
	for _, v := range values {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		out := []string{log.String()}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out = append(out, fmt.Sprintf(verb, v))
		}
		for _, secret := range []string{string(testPassword), "another secret", "ticket secret", string(walletKey)} {
			for _, s := range out {
				require.NotContains(t, s, secret, "%T", v)
				require.NotContains(t, s, fmt.Sprintf("%x", secret), "%T", v)
				require.NotContains(t, s, strings.Trim(fmt.Sprint([]byte(secret)), "[]"), "%T", v)
			}
		}
	}
}
