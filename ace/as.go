package ace

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/pop"
)

// Encoding is how requests to a token endpoint, and its answers, are written.
type Encoding int

// The encodings.
const (
	// JSON is application/ace+json, which RFC 9431, 2.1, asks for.
	JSON Encoding = iota
	// CBOR is application/ace+cbor (RFC 9200), whose tokens may be CWTs in their binary form.
	CBOR
	// Form is application/x-www-form-urlencoded, as OAuth 2.0 has it (RFC 6749), with answers in JSON. A key stands in
	// it as JSON text.
	Form
)

// ASConfig says which token to ask for, where, and who asks. Endpoint, one way to authenticate, and Audience or Scope
// are what most programs set.
type ASConfig struct {
	// Endpoint is the URL of the token endpoint. It must begin with https://, and the server must not redirect.
	Endpoint string

	// ClientID is who asks.
	ClientID string
	// ClientSecret authenticates the client, by HTTP Basic unless SecretInBody is set. Without one the client
	// authenticates by a certificate in TLS (RFC 8705) and names itself in the request.
	ClientSecret string
	// SecretInBody sends ClientID and ClientSecret among the parameters instead of by HTTP Basic.
	SecretInBody bool
	// TLS, if set, is how the server is connected to: RootCAs to trust it by, Certificates for the client. Nil is the
	// system's roots and no certificate. The server is always verified; a configuration that does not is refused. Below
	// version 1.2 nothing is sent, whatever MinVersion says.
	TLS *tls.Config

	// Audience names the broker as the server knows it. It may be empty if the server knows by itself.
	Audience string
	// Scope is what the token is to allow. Nil leaves it to the server.
	Scope Scope
	// Signer, if set, is the client's own key to bind the token to: Ed25519, or ECDSA with P-256, in memory or in
	// hardware. Nil lets the server make a symmetric key.
	Signer crypto.Signer
	// KeepKey asks for each further token on the symmetric key of the first, by its key identifier (RFC 9202, 4). It
	// has no effect with a Signer, whose key stays the same anyway.
	KeepKey bool
	// CNonce is the nonce of a [Hint], which must go into the request if the hint had one.
	CNonce []byte
	// Encoding is JSON if it is not set.
	Encoding Encoding
	// Lifetime is assumed of a token when the server does not say how long it lasts. If it is 0, such an answer is an
	// error.
	Lifetime time.Duration
	// Clock is the time; nil is the real one.
	Clock Clock

	// Bearer asks for a token without a key, for a [Bearer]: there is no "req_cnf", and what the server says of the
	// scope is not read. Signer, Scope, CNonce and KeepKey must not be set.
	Bearer bool
	// OAuthScope is the scope to ask for when Bearer is set, in the server's own words.
	OAuthScope string
}

// AS is a TokenSource that asks an authorization server for each token; put a [Cache] around it. [NewAS] makes one. It
// is safe for concurrent use.
type AS struct {
	cfg    ASConfig
	client *http.Client
	signer ProofKey // zero without a Signer
	clock  Clock

	mu      sync.Mutex
	kept    ProofKey // KeepKey: the key of the last token
	keptKID []byte
}

// NewAS returns an AS, or an error that says what is wrong with the configuration. Nothing is sent yet.
func NewAS(cfg ASConfig) (*AS, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	a := &AS{cfg: cfg, clock: orReal(cfg.Clock)}
	if cfg.Signer != nil {
		var err error
		if a.signer, err = pop.Signer(cfg.Signer); err != nil {
			return nil, fmt.Errorf("%w: ASConfig.Signer: %w", ErrConfig, err)
		}
	}
	trust := &tls.Config{}
	if cfg.TLS != nil {
		trust = cfg.TLS.Clone()
	}
	trust.MinVersion = max(trust.MinVersion, tls.VersionTLS12) // what older versions protect, an attacker may read
	a.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        trust,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           2,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    15 * time.Second,
			MaxResponseHeaderBytes: 32 << 10,
		},
	}
	return a, nil
}

var errRedirect = errors.New("the server redirects, which a token endpoint must not: the client's secret would go elsewhere")

func (cfg *ASConfig) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: ASConfig: "+format, append([]any{ErrConfig}, args...)...)
	}
	u, err := url.Parse(cfg.Endpoint)
	switch {
	case cfg.Endpoint == "":
		return bad("Endpoint is empty")
	case err != nil:
		return bad("Endpoint is not a URL")
	case u.Scheme != "https":
		return bad("Endpoint must begin with https://, for the client's secret and the token's key cross the connection")
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return bad("Endpoint must be https://host/path, without a password and a fragment")
	case cfg.Encoding < JSON || cfg.Encoding > Form:
		return bad("unknown Encoding %d", cfg.Encoding)
	case cfg.Lifetime < 0:
		return bad("Lifetime is negative")
	}
	if err := cfg.validateClient(); err != "" {
		return bad("%s", err)
	}
	if err := cfg.Scope.Validate(); err != nil {
		return bad("Scope: %w", err)
	}
	if cfg.Bearer && (cfg.Signer != nil || cfg.Scope != nil || cfg.CNonce != nil || cfg.KeepKey) {
		return bad("Signer, Scope, CNonce and KeepKey mean nothing for a Bearer token")
	}
	if !cfg.Bearer && cfg.OAuthScope != "" {
		return bad("OAuthScope is for Bearer tokens; set Scope")
	}
	return nil
}

// validateClient checks how client and server authenticate each other (RFC 9431, 2).
func (cfg *ASConfig) validateClient() string {
	hasCertificate := cfg.TLS != nil && (len(cfg.TLS.Certificates) > 0 || cfg.TLS.GetClientCertificate != nil)
	switch {
	case cfg.ClientSecret != "" && cfg.ClientID == "":
		return "ClientSecret without ClientID"
	case cfg.ClientSecret == "" && !hasCertificate:
		return "neither ClientSecret nor a client certificate in TLS: the server could not tell who asks"
	case cfg.SecretInBody && cfg.ClientSecret == "":
		return "SecretInBody without ClientSecret"
	case cfg.TLS != nil && cfg.TLS.InsecureSkipVerify && cfg.TLS.VerifyConnection == nil && cfg.TLS.VerifyPeerCertificate == nil:
		return "TLS.InsecureSkipVerify: tokens from anybody would be used"
	}
	return ""
}

// Token asks for a token. Errors are an [*ASError] for what the server said, [ErrUnreachable], or [ErrResponse] for an
// answer that cannot be used.
func (a *AS) Token(ctx context.Context) (Token, error) {
	a.mu.Lock()
	ask := request{cfg: &a.cfg, key: a.signer, keyID: a.keptKID}
	kept := a.kept
	a.mu.Unlock()

	req, err := a.newRequest(ctx, &ask)
	if err != nil {
		return Token{}, err
	}
	asked := a.clock.Now().Round(0) // without the monotonic clock, which stands while a machine sleeps
	ans, err := a.exchange(req)
	if err != nil {
		a.forget(err)
		return Token{}, err
	}
	if !bytes.Equal(ans.keyID, ask.keyID) {
		kept = ProofKey{} // it is not the one that was asked for
	}
	token, err := ans.token(&a.cfg, a.signer, kept)
	if err != nil {
		return Token{}, err
	}
	token.Obtained = asked
	token.Expires = asked.Add(ans.lifetime)
	if a.cfg.KeepKey && a.cfg.Signer == nil && len(ans.keyID) > 0 {
		a.mu.Lock()
		a.kept, a.keptKID = token.Key, ans.keyID
		a.mu.Unlock()
	}
	return token, nil
}

// forget gives up a kept key that the server does not know any more, so that the next request is for a new one.
func (a *AS) forget(err error) {
	var refused *ASError
	if !errors.As(err, &refused) || refused.Code != "unsupported_pop_key" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept, a.keptKID = ProofKey{}, nil
}

// newRequest puts an HTTP request together.
func (a *AS) newRequest(ctx context.Context, ask *request) (*http.Request, error) {
	body, contentType, accept, err := ask.encode()
	if err != nil {
		return nil, fmt.Errorf("%w: ASConfig: %w", ErrConfig, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.cfg.Endpoint, strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", accept)
	if a.cfg.ClientSecret != "" && !a.cfg.SecretInBody { // RFC 6749, 2.3.1
		req.SetBasicAuth(url.QueryEscape(a.cfg.ClientID), url.QueryEscape(a.cfg.ClientSecret))
	}
	return req, nil
}

// maxResponse bounds an answer in bytes: a token that MQTT can carry, and as much again.
const maxResponse = 128 << 10

// exchange sends the request and takes the answer apart.
func (a *AS) exchange(req *http.Request) (*answer, error) {
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, unreachable(req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, unreachable(req.URL, err)
	}
	if len(body) > maxResponse {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrResponse, maxResponse)
	}
	return parseAnswer(resp.StatusCode, resp.Header.Get("Content-Type"), body)
}

// unreachable says where, and what can be done about it, in one sentence.
func unreachable(u *url.URL, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the method and the URL, which stand before it
	}
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errRedirect):
		return fmt.Errorf("%w: %w", ErrResponse, err)
	case errors.As(err, &verify):
		return fmt.Errorf("%w at %s: its certificate is not trusted (is its CA in ASConfig.TLS.RootCAs, and this machine's clock right?): %w", ErrUnreachable, u.Host, err)
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, u.Host, err)
}

func (cfg *ASConfig) redacted() string {
	return fmt.Sprintf("ace.ASConfig{Endpoint: %q, ClientID: %q, Audience: %q}", cfg.Endpoint, cfg.ClientID, cfg.Audience)
}

// Format writes what is not secret, whatever the verb.
func (cfg ASConfig) Format(f fmt.State, _ rune) { io.WriteString(f, cfg.redacted()) }

// LogValue is Format for slog.
func (cfg ASConfig) LogValue() slog.Value { return slog.StringValue(cfg.redacted()) }

// MarshalJSON is Format for logs in JSON. It does not encode the configuration.
func (cfg ASConfig) MarshalJSON() ([]byte, error) { return json.Marshal(cfg.redacted()) }

// Format writes the endpoint, whatever the verb.
func (a *AS) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "ace.AS{%q}", a.cfg.Endpoint) }

// LogValue is Format for slog.
func (a *AS) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }
