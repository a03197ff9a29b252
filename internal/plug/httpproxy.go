package plug

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// errProxy is reported for a proxy that does not open the connection.
var errProxy = errors.New("plug: the proxy refused the connection")

// dialProxy opens a TCP connection to address through an HTTP proxy by CONNECT (RFC 9110 section 9.3.6), or a SOCKS5
// proxy.
func dialProxy(ctx context.Context, via *url.URL, address string) (net.Conn, error) {
	if !strings.EqualFold(via.Scheme, "http") {
		d, err := proxy.FromURL(via, new(net.Dialer))
		if err != nil {
			return nil, err
		}
		return dialVia(ctx, d, address)
	}
	host := via.Host
	if via.Port() == "" {
		host = net.JoinHostPort(via.Hostname(), "80")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = connectThrough(conn, via, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// maxResponse is how many bytes a proxy may answer with, which net/http does not bound.
const maxResponse = 64 << 10

// connectThrough asks the proxy at the other end of conn for address.
func connectThrough(conn net.Conn, via *url.URL, address string) error {
	header := http.Header{}
	if u := via.User; u != nil {
		password, _ := u.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: header}
	if err := request.Write(conn); err != nil {
		return err
	}
	// The server does not speak before the client does, so nothing of it is lost in this buffer.
	r := bufio.NewReader(io.LimitReader(conn, maxResponse))
	response, err := http.ReadResponse(r, request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK || r.Buffered() > 0 {
		return fmt.Errorf("%w: %s", errProxy, response.Status)
	}
	return nil
}
