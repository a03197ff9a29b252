package ace

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// handAS is an authorization server of the tests' own: it keeps what it is asked, byte by byte, and says what it is
// told to. It shares no code with the package.
type handAS struct {
	*httptest.Server
	roots *x509.CertPool

	mu          sync.Mutex
	status      int
	contentType string
	answer      string
	header      http.Header
	asked       []askedFor
}

type askedFor struct {
	header http.Header
	body   string
	client []*x509.Certificate
}

func newHandAS(t *testing.T) *handAS {
	t.Helper()
	s := &handAS{status: 200, contentType: "application/ace+json"}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.roots = x509.NewCertPool()
	s.roots.AddCert(s.Certificate())
	return s
}

func (s *handAS) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, askedFor{r.Header, string(body), r.TLS.PeerCertificates})
	w.Header().Set("Content-Type", s.contentType)
	for name, values := range s.header {
		w.Header()[name] = values
	}
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.answer)
}

// says sets what the server answers from now on.
func (s *handAS) says(status int, contentType, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.contentType, s.answer = status, contentType, answer
}

// last is the latest request.
func (s *handAS) last(t *testing.T) askedFor {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotEmpty(t, s.asked)
	return s.asked[len(s.asked)-1]
}

// config is one that works with the server.
func (s *handAS) config() ASConfig {
	return ASConfig{
		Endpoint: s.URL + "/token", ClientID: "sensor-1", ClientSecret: "s3cret", Audience: "broker.example",
		TLS: &tls.Config{RootCAs: s.roots},
	}
}

// ask asks the server once.
func (s *handAS) ask(t *testing.T, cfg ASConfig) (Token, error) {
	t.Helper()
	as, err := NewAS(cfg)
	require.NoError(t, err)
	return as.Token(t.Context())
}

// seedKey is the Ed25519 key of the vectors: seed 00 to 1f.
func seedKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	return ed25519.NewKeyFromSeed(seed)
}

const (
	// The secret 00 to 1f, and the public key of the seed 00 to 1f, in base64url.
	secretText = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	publicText = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"

	symmetricAnswer = `{"access_token":"ref-token-0001","token_type":"pop","expires_in":3600,"ace_profile":"mqtt_tls",` +
		`"scope":"W1sidG9waWMxIixbInB1YiIsInN1YiJdXSxbInRvcGljMi8jIixbInB1YiJdXSxbIisvdG9waWMzIixbInN1YiJdXV0",` +
		`"cnf":{"jwk":{"kty":"oct","alg":"HS256","kid":"k1","k":"` + secretText + `"}}}`
)

// exampleScope is the one of RFC 9431, 2.3.
var exampleScope = Scope{
	{Filter: "topic1", Publish: true, Subscribe: true},
	{Filter: "topic2/#", Publish: true},
	{Filter: "+/topic3", Subscribe: true},
}
