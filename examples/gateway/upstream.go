package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// upstream is the broker behind the gateway.
type upstream struct {
	network, address string
	tls              *tls.Config // nil for none
	proxy            bool        // PROXY protocol, version 2
	password         []byte      // goes with the User Names that the gateway has verified; nil for none
	timeout          time.Duration

	probing sync.Mutex
	probed  time.Time
	answer  error
}

// parseUpstream takes the URL of a broker apart.
func parseUpstream(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "mqtt", "tcp", "mqtts", "tls":
		if u.Hostname() == "" {
			return nil, fmt.Errorf("%q names no host", text)
		}
	case "unix":
		if u.Path == "" {
			return nil, fmt.Errorf("%q names no path", text)
		}
	default:
		return nil, fmt.Errorf("%q: want mqtt://HOST:PORT, mqtts://HOST:PORT or unix:///PATH", text)
	}
	return u, nil
}

func newUpstream(cfg *upstreamConfig, k *checker) (*upstream, error) {
	u, err := parseUpstream(cfg.URL.value)
	if err != nil {
		return nil, err
	}
	up := &upstream{network: "tcp", proxy: cfg.ProxyProtocol, timeout: cfg.Timeout.value}
	switch u.Scheme {
	case "unix":
		up.network, up.address = "unix", u.Path
	case "mqtts", "tls":
		up.address = withPort(u, "8883")
		up.tls, err = cfg.clientTLS(u.Hostname(), k)
	default:
		up.address = withPort(u, "1883")
	}
	if cfg.PasswordFile.line > 0 && err == nil {
		up.password, err = loadPassword(k.path(cfg.PasswordFile.value))
	}
	return up, err
}

// loadPassword reads the first line of a file.
func loadPassword(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	password, _, _ := bytes.Cut(text, []byte("\n"))
	if password = bytes.TrimSuffix(password, []byte("\r")); len(password) == 0 {
		return nil, fmt.Errorf("%s: no password in its first line", file)
	}
	return password, nil
}

// vouched is a CONNECT as the broker gets it. verified tells that the gateway knows who the client is, and that the
// User Name, if there is one, says so; it then goes with the gateway's password if the client has brought none.
func (u *upstream) vouched(connect wire.Packet, m *wire.ConnectPacket, verified bool) (wire.Packet, error) {
	if u.password == nil || !verified || !m.HasUsername || m.HasPassword {
		return connect, nil
	}
	m.HasPassword, m.Password = true, u.password
	return m.Append(nil)
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (cfg *upstreamConfig) clientTLS(host string, k *checker) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"mqtt"}}
	if cfg.ServerName != "" {
		t.ServerName = cfg.ServerName
	}
	var err error
	if cfg.CA.line > 0 {
		if t.RootCAs, err = loadPool(k.path(cfg.CA.value)); err != nil {
			return nil, err
		}
	}
	if cfg.Certificate.line > 0 {
		own, err := loadCertificate(k.path(cfg.Certificate.value), k.path(cfg.Key.value))
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{*own}
	}
	return t, nil
}

// dial opens a connection to the broker. client and local are the ends of the client's connection, for the PROXY
// header.
func (u *upstream) dial(ctx context.Context, client, local net.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout, fmt.Errorf("no answer within %v", u.timeout))
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, u.network, u.address)
	if err != nil {
		return nil, err
	}
	secured, err := u.prepare(ctx, conn, client, local)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// prepare does what comes before MQTT.
func (u *upstream) prepare(ctx context.Context, conn net.Conn, client, local net.Addr) (net.Conn, error) {
	if u.proxy {
		header := proxyproto.HeaderProxyFromAddrs(2, client, local)
		if client == nil { // a probe of our own
			header.Command = proxyproto.LOCAL
		}
		if _, err := header.WriteTo(conn); err != nil {
			return nil, err
		}
	}
	if u.tls == nil {
		return conn, nil
	}
	secured := tls.Client(conn, u.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secured, nil
}

// probe tells whether the broker can be reached. The answer is kept for a second, so that nobody can make the gateway
// knock at the broker's door all the time, and it is everybody's: who asks first and goes away spoils it for nobody.
func (u *upstream) probe(ctx context.Context) error {
	u.probing.Lock()
	defer u.probing.Unlock()
	if time.Since(u.probed) < time.Second {
		return u.answer
	}
	conn, err := u.dial(context.WithoutCancel(ctx), nil, nil) // which has a timeout of its own
	if err == nil {
		err = conn.Close()
	}
	u.probed, u.answer = time.Now(), err
	return err
}

func loadPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return pool, nil
}

func loadCertificate(certificate, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", certificate, key, err)
	}
	return &pair, nil
}
