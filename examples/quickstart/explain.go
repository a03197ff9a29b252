package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
)

// explain makes one error of those that the clients got: a sentence that says
// what to do, and behind it what the library said.
func (s server) explain(ctx context.Context, refusals []error) error {
	for _, err := range refusals {
		if advice := s.advice(err); advice != "" {
			return fmt.Errorf("connect to %s: %s (%w)", s.url.Redacted(), advice, err)
		}
	}
	last := refusals[len(refusals)-1]
	switch {
	case s.secure():
		return fmt.Errorf("connect to %s: the TLS handshake does not get through; the port may not speak TLS, try %s (%w)",
			s.url.Redacted(), s.other(), last)
	case s.speaksTLS(ctx):
		return fmt.Errorf("connect to %s: this port speaks TLS, use %s (%w)", s.url.Redacted(), s.other(), last)
	}
	return fmt.Errorf("connect to %s: the broker takes neither MQTT 5 nor 3.1.1 there; is it the port for MQTT, and not for"+
		" WebSocket or for something else? (%w)", s.url.Redacted(), last)
}

// advice is what to do about an error that says by itself what is wrong.
func (s server) advice(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		noHost   *net.DNSError
	)
	switch {
	case credentialsRefused(err) && s.user == "":
		return "the broker wants to know who you are, use -user and " + passwordVariable
	case credentialsRefused(err):
		return "the broker refuses the user or the password, check -user and " + passwordVariable
	case errors.As(err, &unknown):
		return "nobody here vouches for the broker's certificate, give the one of its authority with -cafile"
	case errors.As(err, &hostname):
		return "the broker's certificate is for another name, use the one in it: " + names(hostname.Certificate)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the broker's certificate has expired or is not valid yet, renew it or set the clock"
	case errors.As(err, &record):
		return "this port does not speak TLS, use the broker's TLS port (often 8883), or " + s.other() + " without protection of your password"
	case errors.Is(err, websocket.ErrBadHandshake):
		return fmt.Sprintf("there is no WebSocket at path %q, use the broker's (often /mqtt)", s.url.Path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there, start the broker or correct the port (often 1883, with TLS 8883)"
	case errors.As(err, &noHost):
		return "there is no host of that name, correct it"
	}
	return ""
}

// credentialsRefused tells whether a CONNACK said so, in either version.
func credentialsRefused(err error) bool {
	if errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) || errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		return true
	}
	const badUserNameOrPassword, notAuthorized = 0x86, 0x87
	var refused *autopaho.ConnackError
	return errors.As(err, &refused) && (refused.ReasonCode == badUserNameOrPassword || refused.ReasonCode == notAuthorized)
}

func names(certificate *x509.Certificate) string {
	all := certificate.DNSNames
	for _, ip := range certificate.IPAddresses {
		all = append(all, ip.String())
	}
	return strings.Join(all, ", ")
}

// secure tells whether the URL asks for TLS.
func (s server) secure() bool { return strings.Contains("mqtts tls ssl wss", s.url.Scheme) }

// other is the URL with TLS if it is without, and without if it is with.
func (s server) other() string {
	u := *s.url
	u.Scheme = map[string]string{
		"mqtt": "mqtts", "tcp": "tls", "ws": "wss", "mqtts": "mqtt", "tls": "tcp", "ssl": "tcp", "wss": "ws",
	}[u.Scheme]
	return u.Redacted()
}

// speaksTLS begins a TLS handshake, whose certificate does not matter, and ends it:
// nothing is sent over it.
func (s server) speaksTLS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.url.Host)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	var alert tls.AlertError
	return err == nil || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error") && !errors.Is(err, io.EOF)
}
