package ace

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// TestWrongASConfig: each mistake gives one sentence, from NewAS.
func TestWrongASConfig(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		edit func(*ASConfig)
		want string
	}{
		"no endpoint":       {func(c *ASConfig) { c.Endpoint = "" }, "Endpoint is empty"},
		"C-1 no TLS":        {func(c *ASConfig) { c.Endpoint = "http://as.example/token" }, "must begin with https://"},
		"password in URL":   {func(c *ASConfig) { c.Endpoint = "https://u:p@as.example/token" }, "without a password"},
		"not a URL":         {func(c *ASConfig) { c.Endpoint = "https://as example\x7f/" }, "not a URL"},
		"no host":           {func(c *ASConfig) { c.Endpoint = "https:///token" }, "https://host/path"},
		"C-1 nobody":        {func(c *ASConfig) { c.ClientSecret = "" }, "could not tell who asks"},
		"secret, no name":   {func(c *ASConfig) { c.ClientID = "" }, "ClientSecret without ClientID"},
		"C-1 no check":      {func(c *ASConfig) { c.TLS = &tls.Config{InsecureSkipVerify: true} }, "InsecureSkipVerify"},
		"key of wrong kind": {func(c *ASConfig) { c.Signer = p384 }, "only P-256"},
		"scope":             {func(c *ASConfig) { c.Scope = Scope{{Filter: "a/#/b", Publish: true}} }, "not an MQTT topic filter"},
		"encoding":          {func(c *ASConfig) { c.Encoding = 9 }, "unknown Encoding"},
		"lifetime":          {func(c *ASConfig) { c.Lifetime = -1 }, "Lifetime"},
		"OAuth scope":       {func(c *ASConfig) { c.OAuthScope = "read" }, "set Scope"},
		"bearer with key":   {func(c *ASConfig) { c.Bearer, c.Signer = true, seedKey() }, "mean nothing"},
	} {
		cfg := ASConfig{Endpoint: "https://as.example/token", ClientID: "c", ClientSecret: "s3cret"}
		tc.edit(&cfg)
		_, err := NewAS(cfg)
		require.ErrorIs(t, err, ErrConfig, name)
		require.ErrorContains(t, err, tc.want, name)
		require.NotContains(t, err.Error(), "s3cret", name)
	}
}

// TestServerThatCannotBeReached: one sentence says where and what.
func TestServerThatCannotBeReached(t *testing.T) {
	as := newHandAS(t)
	cfg := as.config()
	cfg.TLS = nil // its CA is missing
	_, err := as.ask(t, cfg)
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, "its certificate is not trusted")
	require.ErrorContains(t, err, "RootCAs")

	cfg = as.config()
	cfg.TLS.Time = func() time.Time { return time.Now().Add(200 * 365 * 24 * time.Hour) } // a clock that is wrong
	_, err = as.ask(t, cfg)
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, "this machine's clock right?")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg = as.config()
	cfg.Endpoint = "https://" + ln.Addr().String() + "/token"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	a, err := NewAS(cfg)
	require.NoError(t, err)
	_, err = a.Token(ctx) // it accepts and says nothing
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ln.Close()
	_, err = a.Token(t.Context())
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, ln.Addr().String())
	require.NotContains(t, err.Error(), "s3cret")

	as.says(200, "text/html", "<html>")
	_, err = as.ask(t, as.config())
	require.ErrorIs(t, err, ErrResponse)
	require.ErrorContains(t, err, "is this the token endpoint?")
}

// TestAudienceMismatch: the server's word for it, with what to check.
func TestAudienceMismatch(t *testing.T) {
	as := newHandAS(t)
	as.says(400, "application/ace+json", `{"error":"invalid_target","error_description":"unknown audience"}`)
	_, err := as.ask(t, as.config())
	require.EqualError(t, err, "ace: the authorization server refused the request: invalid_target: unknown audience (check Audience: it names the broker as the server knows it)")
}
