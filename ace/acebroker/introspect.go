package acebroker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

// DefaultCacheFor is how long the Authorization Server's word is believed without asking again.
const DefaultCacheFor = time.Minute

// maxAsking is how many introspection requests are under way at one Authorization Server.
const maxAsking = 16

// Introspection says how to ask an Authorization Server about a token (RFC 7662; RFC 9200, section 5.9). The broker
// authenticates by a client secret, by a certificate in TLS, or both.
type Introspection struct {
	// URL of the introspection endpoint, with https.
	URL string
	// ClientID and ClientSecret are the broker's own credentials at the endpoint, sent by HTTP Basic.
	ClientID, ClientSecret string
	// TLS verifies the server and may have a client certificate; nil uses the roots of the machine.
	TLS *tls.Config
	// CacheFor bounds how long an answer is used, and with it how late a revocation is noticed: an answer counts
	// until the token expires or CacheFor is over, and is then asked for again as long as a connection lives by the
	// token. Zero is DefaultCacheFor; less than a second is an error.
	CacheFor time.Duration
}

// String shows no secret.
func (i Introspection) String() string { return "Introspection(" + i.URL + ")" }

// GoString is String.
func (i Introspection) GoString() string { return i.String() }

// LogValue is String.
func (i Introspection) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalJSON is String for logs in JSON. It does not encode the credentials.
func (i Introspection) MarshalJSON() ([]byte, error) { return json.Marshal(i.String()) }

// introspection is one that has been checked.
type introspection struct {
	*endpoint
	Introspection
}

func newIntrospection(cfg Introspection) (*introspection, error) {
	e, err := newEndpoint(cfg.URL, cfg.TLS)
	if err != nil {
		return nil, err
	}
	byCertificate := cfg.TLS != nil && (len(cfg.TLS.Certificates) > 0 || cfg.TLS.GetClientCertificate != nil)
	if (cfg.ClientID == "" || cfg.ClientSecret == "") && !byCertificate {
		return nil, errors.New("acebroker: introspection needs a client secret or a client certificate")
	}
	if cfg.CacheFor == 0 {
		cfg.CacheFor = DefaultCacheFor
	}
	if cfg.CacheFor < time.Second {
		return nil, errors.New("acebroker: introspection with a CacheFor below a second")
	}
	return &introspection{e, cfg}, nil
}

// introspect asks the issuers about a reference token, one after the other until one knows it. If one could not be
// asked and no other knows it, the token is refused: it might have been revoked (RFC 9200, section 6.10).
func (v *verifier) introspect(ctx context.Context, token []byte) (u unwrapped, recheck time.Time, err error) {
	var unreachable error
	asked := false
	for _, issuer := range v.issuers {
		if issuer.asker == nil {
			continue
		}
		asked = true
		answer, err := v.ask(ctx, issuer, token)
		if err != nil {
			unreachable = errors.Join(unreachable, err)
			continue
		}
		if !answer.Active {
			continue
		}
		if answer.TokenType != "" && !strings.EqualFold(answer.TokenType, claims.PoP) {
			return unwrapped{}, time.Time{}, fmt.Errorf("%w: it is a %s token", ErrKey, answer.TokenType)
		}
		set := answer.Set
		if answer.ClientID != "" {
			set.ClientID = answer.ClientID
		}
		recheck := v.clock.Now().Add(issuer.asker.CacheFor)
		return unwrapped{set, issuer, true}, recheck, nil
	}
	switch {
	case unreachable != nil:
		v.counters.unreachable.Add(1)
		return unwrapped{}, time.Time{}, fmt.Errorf("%w: %w", ErrUnreachable, unreachable)
	case !asked:
		return unwrapped{}, time.Time{}, fmt.Errorf("%w: neither a JWT nor a CWT", ErrMalformed)
	}
	return unwrapped{}, time.Time{}, ErrInactive
}

// ask makes one request, when there is a place for it.
func (v *verifier) ask(ctx context.Context, of *issuer, token []byte) (claims.Introspection, error) {
	select {
	case of.asking <- struct{}{}:
		defer func() { <-of.asking }()
	case <-ctx.Done():
		return claims.Introspection{}, errors.New("too many requests under way")
	}
	v.counters.introspected.Add(1)
	form := url.Values{"token": {string(token)}, "token_type_hint": {"pop"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, of.asker.url, strings.NewReader(form))
	if err != nil {
		return claims.Introspection{}, err
	}
	req.Header.Set("Content-Type", claims.TypeForm)
	req.Header.Set("Accept", claims.TypeACEJSON+", "+claims.TypeJSON)
	if of.asker.ClientSecret != "" {
		req.SetBasicAuth(url.QueryEscape(of.asker.ClientID), url.QueryEscape(of.asker.ClientSecret)) // RFC 6749, 2.3.1
	}
	body, mediaType, err := of.asker.do(req)
	if err != nil {
		return claims.Introspection{}, err
	}
	return parseAnswer(body, mediaType)
}

func parseAnswer(body []byte, mediaType string) (claims.Introspection, error) {
	switch mediaType {
	case claims.TypeACEJSON, claims.TypeJSON:
		return claims.ParseIntrospectionJSON(body)
	case claims.TypeACECBOR:
		return claims.ParseIntrospectionCBOR(body)
	}
	return claims.Introspection{}, errors.New("answer of another media type")
}
