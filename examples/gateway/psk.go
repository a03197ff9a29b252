package main

import (
	"bytes"
	"context"
	"errors"
	"net"

	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// pskConfig says which pre-shared keys there are: those of a file, or those of tokens (RFC 9431, section 2.2.1), which
// are the identities, or whose keys are named by uploads to another listener.
type pskConfig struct {
	Keys     setting[string] `yaml:"keys"`
	Username setting[bool]   `yaml:"identity_as_username"`
	Tokens   setting[bool]   `yaml:"tokens"`
	Uploads  setting[string] `yaml:"uploads"`
	// ClientIdentifier is "any" or "identity", as in aceConfig.
	ClientIdentifier setting[string] `yaml:"client_identifier"`
}

func (p *pskConfig) ofTokens() bool { return p != nil && p.Tokens.value }

func (p *pskConfig) listed() bool { return p != nil && !p.Tokens.value }

func (p *pskConfig) check(k *checker, at string, l *listenerConfig) {
	line := max(p.Keys.line, p.Tokens.line, p.Uploads.line, l.Address.line)
	switch {
	case p.Tokens.value && p.Keys.line > 0:
		k.wrong(line, "%s: keys and tokens are two ways to say who has a key: take one", at)
	case p.Tokens.value && l.Scheme.value != schemeACE:
		k.wrong(line, "%s.tokens without scheme: ace", at)
	case !p.Tokens.value && p.Keys.line == 0:
		k.wrong(line, "%s.keys is missing", at)
	case !p.Tokens.value && p.Uploads.line > 0:
		k.wrong(line, "%s.uploads without tokens: true", at)
	case p.Username.value && l.Scheme.value != schemeNone:
		k.wrong(p.Username.line, "%s.identity_as_username with scheme: %s, which says who the client is", at, l.Scheme.value)
	}
	if id := p.ClientIdentifier; id.line > 0 {
		switch {
		case l.Scheme.value != schemeNone:
			k.wrong(id.line, "%s.client_identifier with scheme: %s, which says who the client is", at, l.Scheme.value)
		case id.value != anyIdentifier && id.value != identityOnly:
			k.wrong(id.line, "%s.client_identifier: %q is neither any nor identity", at, id.value)
		}
	}
	k.reads(at+".keys", p.Keys, func(path string) error {
		_, err := tlspsk.LoadKeys(path)
		return err
	})
}

// fixed is that of a listener.
func (p *pskConfig) fixed(next *pskConfig) string {
	switch {
	case next.Tokens.value != p.Tokens.value:
		return "tokens"
	case next.Uploads.value != p.Uploads.value:
		return "uploads"
	case next.Username.value != p.Username.value:
		return "identity_as_username"
	case (next.ClientIdentifier.value == identityOnly) != (p.ClientIdentifier.value == identityOnly):
		return "client_identifier"
	}
	return ""
}

// checkUploads wants uploads to be the name of a listener that takes them.
func (c *config) checkUploads(k *checker, of *listenerConfig, at string) {
	if !of.PSK.ofTokens() || of.PSK.Uploads.line == 0 {
		return
	}
	for _, l := range c.Listeners {
		if l.Name.value == of.PSK.Uploads.value && l.ACE != nil && l.ACE.AuthzInfo && l.TLS != nil {
			return
		}
	}
	k.wrong(of.PSK.Uploads.line, "%s.psk.uploads: %q is no listener with tls, scheme: ace and authz_info", at, of.PSK.Uploads.value)
}

// shareUploads lets tokens that are uploaded to one listener name the keys of another.
func (g *gateway) shareUploads(cfg *config) {
	for i := range g.listeners {
		for _, from := range g.listeners {
			if of := cfg.Listeners[i].PSK; of.ofTokens() && of.Uploads.value == from.name {
				if taking, ok := from.served.(*acebroker.Listener); ok {
					g.listeners[i].tokens.ShareUploads(taking)
				}
			}
		}
	}
}

// keyedConn is secured by a key that was in a file when its handshake began.
type keyedConn struct {
	*tlspsk.Conn
	keys *map[string][]byte // by identity, at that time
}

// secureByKey does the handshake of a connection.
func (l *listener) secureByKey(ctx context.Context, conn net.Conn, config tlspsk.Config) (net.Conn, error) {
	if l.tokens != nil {
		config.Keys = l.tokens.Key
		secured := tlspsk.Server(conn, &config)
		return secured, secured.HandshakeContext(ctx)
	}
	keys := l.keys.Load()
	config.Keys = func(identity string) []byte { return (*keys)[identity] }
	secured := tlspsk.Server(conn, &config)
	return keyedConn{secured, keys}, secured.HandshakeContext(ctx)
}

// keyOf returns the connection secured by a key of a file that conn is made of.
func keyOf(conn net.Conn) (keyed keyedConn, ok bool) {
	for conn != nil {
		if keyed, ok := conn.(keyedConn); ok {
			return keyed, true
		}
		upper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = upper.NetConn()
	}
	return keyedConn{}, false
}

// errKeyWithdrawn is the end of a connection whose key has been taken out of the file, or is another one now.
var errKeyWithdrawn = errors.New("the pre-shared key is not valid any more")

// withdrawn tells whether the key of a connection has gone from the file since its handshake, or is another one there.
func (l *listener) withdrawn(conn net.Conn) bool {
	keyed, ok := keyOf(conn)
	if !ok {
		return false
	}
	id, now := keyed.ConnectionState().Identity, l.keys.Load()
	return now != keyed.keys && !bytes.Equal((*now)[id], (*keyed.keys)[id])
}

// endWithdrawn ends the established connections whose keys are withdrawn. One that is established later is asked when
// it is accepted.
func (l *listener) endWithdrawn() {
	for _, c := range l.served.Established() {
		if l.withdrawn(c) {
			_ = c.End(errKeyWithdrawn, layer.Goodbye(c, wire.NotAuthorized)) // returns what it is given
		}
	}
}
