package acebroker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// Bounds on what an Authorization Server answers.
const (
	maxAnswer       = 256 << 10 // bytes of a body: a key set of some hundred keys, a scope of a thousand entries
	maxHeader       = 16 << 10
	answerTimeout   = 10 * time.Second
	idleConnections = 8
)

// endpoint is a URL of an Authorization Server.
type endpoint struct {
	url    string
	client *http.Client
}

// newEndpoint wants https: over anything else, neither a key nor a verdict is worth anything.
func newEndpoint(address string, config *tls.Config) (*endpoint, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("acebroker: the URL cannot be parsed")
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("acebroker: %q is not an https URL", u.Redacted())
	}
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return &endpoint{u.String(), &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        config,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    idleConnections,
			MaxConnsPerHost:        4 * idleConnections,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxHeader,
		},
		// A redirect would carry the token and the broker's credentials elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       answerTimeout,
	}}, nil
}

// do returns the body of a 200 answer and its media type.
func (e *endpoint) do(req *http.Request) (body []byte, mediaType string, err error) {
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxHeader) // so that the connection can serve again
		return nil, "", fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, "", err
	}
	if len(body) > maxAnswer {
		return nil, "", fmt.Errorf("answer of more than %d bytes", maxAnswer)
	}
	mediaType, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return nil, "", errors.New("answer without a content type")
	}
	return body, mediaType, nil
}

func (e *endpoint) get(ctx context.Context) (body []byte, mediaType string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		return nil, "", err
	}
	return e.do(req)
}
