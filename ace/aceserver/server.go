package aceserver

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/internal/rate"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

// Server is an Authorization Server. Make one with [New]. It is an http.Handler, is safe for concurrent use and has
// nothing to close.
type Server struct {
	issuer      string
	store       store.Store
	targets     map[string]*target
	clients     map[string]Client
	resources   map[string]ResourceServer
	policies    []Policy
	roots       *x509.CertPool
	behindProxy bool
	address     func(*http.Request) string
	log         *slog.Logger
	mux         *http.ServeMux
	metadata    []byte
	nobody      SecretHash // fits no secret; for clients that are not there

	keys   atomic.Pointer[keyring]
	pruned atomic.Int64 // when prune last ran, in Unix nanoseconds

	byAddress, byClient, byResource *rate.Limiter

	now func() time.Time
}

// New makes a Server. Every error names the field that is wrong.
func New(cfg Config) (*Server, error) {
	cfg = cfg.clone()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		issuer:      cfg.Issuer,
		store:       cfg.Store,
		targets:     map[string]*target{},
		clients:     map[string]Client{},
		resources:   map[string]ResourceServer{},
		policies:    cfg.Policies,
		roots:       cfg.ClientCAs,
		behindProxy: cfg.BehindProxy,
		address:     cfg.Address,
		log:         cfg.Log,
		now:         time.Now,
	}
	_, s.nobody = NewSecret()
	if s.address == nil {
		s.address = address
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.SetKeys(cfg.Keys); err != nil {
		return nil, err
	}
	for _, a := range cfg.Audiences {
		t, err := newTarget(a)
		if err != nil {
			return nil, err
		}
		s.targets[a.Name] = t
	}
	for _, c := range cfg.Clients {
		s.clients[c.ID] = c
	}
	for _, r := range cfg.ResourceServers {
		s.resources[r.ID] = r
	}
	s.limit(cfg.Limits)
	return s, s.route()
}

func (s *Server) limit(limits Limits) {
	entries := limits.Entries
	if entries <= 0 {
		entries = defaultEntries
	}
	client := limits.Client.or(defaultClientRate)
	s.byAddress = limits.Address.or(defaultAddressRate).limiter(entries)
	s.byClient = client.limiter(entries)
	if client.Interval > 0 {
		client.Interval, client.Burst = max(1, client.Interval/serverShare), client.Burst*serverShare
	}
	s.byResource = client.limiter(entries)
}

// route sets up the endpoints below the issuer's path.
func (s *Server) route() error {
	issuer, err := url.Parse(s.issuer)
	if err != nil {
		return err
	}
	if s.metadata, err = s.describe(); err != nil {
		return err
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST "+issuer.Path+"/token", s.endpoint(s.serveToken))
	s.mux.HandleFunc("POST "+issuer.Path+"/introspect", s.endpoint(s.serveIntrospect))
	s.mux.HandleFunc("POST "+issuer.Path+"/revoke", s.endpoint(s.serveRevoke))
	s.mux.HandleFunc("POST "+issuer.Path+"/register", s.endpoint(s.serveRegister))
	s.mux.HandleFunc("GET "+issuer.Path+"/jwks", s.serveKeys)
	s.mux.HandleFunc("GET /.well-known/oauth-authorization-server"+issuer.Path, s.serveMetadata)
	return nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.TLS == nil && !s.behindProxy {
		http.Error(w, "this server is to be reached by HTTPS", http.StatusForbidden)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// exchange is one request to an endpoint that authenticates.
type exchange struct {
	r       *http.Request
	body    []byte
	request family // of the body
	answer  family
	from    string // the network, for limits and the log
	who     string // the client or resource server, once it is known
	claimed string // who it says it is
	now     time.Time
}

// longestClaim is how much of a stranger's name gets into the log, in bytes.
const longestClaim = 64

// An endpoint handles an exchange; it returns the status and body of the response, or an error, mostly a *refusal.
type endpoint func(*exchange) (status int, body []byte, err error)

// endpoint does what all of them have in common: limits, body, response and log.
func (s *Server) endpoint(serve endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{r: r, from: s.address(r), now: s.now()}
		if wait := s.byAddress.Take(x.from, 1, x.now); wait > 0 {
			s.log.WarnContext(r.Context(), "too many requests", "endpoint", r.URL.Path, "from", x.from)
			sendBusy(w, wait)
			return
		}
		defer func() {
			if x.who != "" {
				s.byAddress.Refund(x.from, 1) // one who is known has a share of its own
			}
		}()
		body, request, err := readBody(w, r)
		x.body, x.request = body, request
		x.answer = answerIn(r, request)
		status := 0
		if err == nil {
			status, body, err = serve(x)
		}
		if busy := (*busyError)(nil); errors.As(err, &busy) {
			s.log.WarnContext(r.Context(), "too many requests", "endpoint", r.URL.Path, "from", x.from, "client", x.who)
			sendBusy(w, busy.wait)
			return
		}
		if err != nil {
			s.refused(w, x, err)
			return
		}
		if len(body) == 0 {
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
			return
		}
		send(w, status, x.answer, body)
	}
}

// refused answers an exchange that has failed, and tells the log why.
func (s *Server) refused(w http.ResponseWriter, x *exchange, err error) {
	refusal := refusalOf(err)
	ctx := x.r.Context()
	attributes := []any{"endpoint", x.r.URL.Path, "from", x.from, "client", x.who}
	if x.who == "" && x.claimed != "" {
		attributes = append(attributes, "claimed", x.claimed[:min(len(x.claimed), longestClaim)])
	}
	if refusal.status == http.StatusInternalServerError {
		s.log.ErrorContext(ctx, "failed", append(attributes, "error", err)...)
	} else {
		s.log.WarnContext(ctx, "refused", append(attributes, "error", refusal.code, "reason", refusal.description)...)
	}
	if refusal.status == http.StatusUnauthorized {
		s.byAddress.Charge(x.from, failureCost-1, x.now)
	}
	if refusal.status == http.StatusForbidden { // RFC 9200, section 5.9.1: without a body
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(refusal.status)
		return
	}
	sendRefusal(w, refusal, x.answer)
}
