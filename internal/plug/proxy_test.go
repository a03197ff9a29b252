package plug

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// socks is a SOCKS5 proxy (RFC 1928) that leads every connection to one address.
type socks struct {
	target string
	mu     sync.Mutex
	asked  []string
}

func (p *socks) listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return l.Addr().String()
}

func (p *socks) serve(conn net.Conn) {
	defer conn.Close()
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(conn, b); err != nil {
			return make([]byte, n)
		}
		return b
	}
	read(int(read(2)[1]))
	conn.Write([]byte{5, 0})
	if read(4)[3] != 3 { // a domain name
		return
	}
	host := string(read(int(read(1)[0])))
	read(2)
	p.mu.Lock()
	p.asked = append(p.asked, host)
	p.mu.Unlock()
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer to.Close()
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	go io.Copy(to, conn)
	io.Copy(conn, to)
}

const (
	proxyChild = "MQTTSEC_TEST_PROXY_CHILD"
	proxyRoots = "MQTTSEC_TEST_PROXY_ROOTS"
)

// TestProxyFromEnvironment connects to a host that only the proxy knows. Package proxy
// reads the environment once, so that takes a process of its own.
func TestProxyFromEnvironment(t *testing.T) {
	if schema := os.Getenv(proxyChild); schema != "" {
		connectThroughProxy(t, schema, os.Getenv(proxyRoots))
		return
	}
	serving, _ := identity(t, "broker.invalid")
	roots := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: serving.Certificates[0].Certificate[0]}))
	for _, schema := range []string{"mqtt", "mqtts"} {
		t.Run(schema, func(t *testing.T) {
			s := newServer(always)
			p := &socks{}
			if schema == "mqtts" {
				p.target = s.tls(t, serving)
			} else {
				p.target = s.tcp(t)
			}
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyFromEnvironment$", "-test.v")
			for _, v := range os.Environ() {
				if !strings.Contains(strings.ToLower(v), "_proxy=") {
					child.Env = append(child.Env, v)
				}
			}
			child.Env = append(child.Env, "all_proxy=socks5://"+p.listen(t), proxyChild+"="+schema, proxyRoots+"="+roots)
			output, err := child.CombinedOutput()
			require.NoError(t, err, "%s", output)
			p.mu.Lock()
			defer p.mu.Unlock()
			require.Equal(t, []string{"broker.invalid", "broker.invalid"}, p.asked)
			require.Len(t, s.published, 2)
		})
	}
}

func connectThroughProxy(t *testing.T, schema, roots string) {
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(roots)))
	trust := &tls.Config{RootCAs: pool}
	u := parse(t, schema+"://broker.invalid:1883")
	publishV5(t, V5(autopaho.ClientConfig{ServerUrls: []*url.URL{u}, TlsCfg: trust}, newSpy("a")))
	o := mqtt.NewClientOptions().SetTLSConfig(trust)
	o.Servers = []*url.URL{u}
	publishV3(t, V3(o, newSpy("a")))
}
