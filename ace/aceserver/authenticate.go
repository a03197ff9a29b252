package aceserver

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

// busyError says that somebody who is known asks too often.
type busyError struct{ wait time.Duration }

func (*busyError) Error() string { return "too many requests" }

// presented gathers the credentials of a request, which may use one method only (RFC 6749, section 2.3).
func presented(r *http.Request, body credentials) (credentials, error) {
	user, password, basic := r.BasicAuth()
	if !basic {
		if r.Header.Get("Authorization") != "" {
			return credentials{}, errUnauthenticated
		}
		return body, nil
	}
	id, err := url.QueryUnescape(user) // RFC 6749, section 2.3.1
	secret, err2 := url.QueryUnescape(password)
	switch {
	case err != nil || err2 != nil:
		return credentials{}, errUnauthenticated
	case body.hasSecret:
		return credentials{}, refuse(invalidRequest, "the client authenticates twice")
	case body.id != "" && body.id != id:
		return credentials{}, refuse(invalidRequest, "two client IDs")
	}
	return credentials{id: id, secret: secret, hasSecret: true}, nil
}

// authenticated reports whether a credential is the one that was presented. It does the same work for the credential of
// nobody.
func (s *Server) authenticated(r *http.Request, given credentials, known Credential, exists bool) bool {
	if given.hasSecret {
		if known.Secret.IsZero() {
			known.Secret = s.nobody
		}
		return known.Secret.matches(given.secret) && exists
	}
	return known.byCertificate(peerCertificates(r), s.roots) && exists
}

func peerCertificates(r *http.Request) []*x509.Certificate {
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// client authenticates a client.
func (s *Server) client(x *exchange, body credentials) (Client, error) {
	given, err := presented(x.r, body)
	if err != nil {
		return Client{}, err
	}
	x.claimed = given.id
	client, exists, err := s.find(given.id)
	if err != nil {
		return Client{}, err
	}
	if !s.authenticated(x.r, given, client.Credential, exists) {
		return Client{}, errUnauthenticated
	}
	x.who = client.ID
	if wait := s.byClient.Take(client.ID, 1, x.now); wait > 0 {
		return Client{}, &busyError{wait}
	}
	return client, nil
}

// find looks a client up among those of the configuration and the registered ones.
func (s *Server) find(id string) (client Client, exists bool, err error) {
	if client, ok := s.clients[id]; ok {
		return client, true, nil
	}
	if id == "" {
		return Client{}, false, nil
	}
	var record clientRecord
	err = s.store.View(func(tx store.Tx) error {
		exists, err = load(tx, bucketClients, id, &record)
		return err
	})
	if err != nil || !exists {
		return Client{}, false, err
	}
	client, err = record.client(id)
	return client, err == nil, err
}

// resource authenticates a resource server. A client that is no resource server is refused in another way than a
// stranger (RFC 9200, section 5.9.1).
func (s *Server) resource(x *exchange, body credentials) (ResourceServer, error) {
	given, err := presented(x.r, body)
	if err != nil {
		return ResourceServer{}, err
	}
	resource, exists := s.resources[given.id]
	if s.authenticated(x.r, given, resource.Credential, exists) {
		x.who = resource.ID
		if wait := s.byResource.Take(resource.ID, 1, x.now); wait > 0 {
			return ResourceServer{}, &busyError{wait}
		}
		return resource, nil
	}
	if _, err := s.client(x, body); err != nil {
		return ResourceServer{}, err
	}
	return ResourceServer{}, &refusal{http.StatusForbidden, unauthorizedClient, "a client is no resource server"}
}
