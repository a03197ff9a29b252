package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestOperationsNameAllMetrics: the metrics of the operations page are those of a gateway with a listener of each
// scheme.
func TestOperationsNameAllMetrics(t *testing.T) {
	s := newSite(t)
	s.write("issuer.jwks.json", `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}`)
	g := s.start("mqtt://127.0.0.1:1", `
upstream: {url: %q}
listeners:
  - {address: "127.0.0.1:0", name: plain}
  - {address: "127.0.0.1:0", name: passwords, scheme: mqttauth, mqttauth: {server: broker.example, users: users.txt}}
  - address: 127.0.0.1:0
    name: tokens
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: {issuer: "https://as.example", audience: [broker], algorithms: [EdDSA], keys: issuer.jwks.json}
`)
	descriptions, counted := make(chan *prometheus.Desc), map[string]bool{}
	go func() {
		defer close(descriptions)
		g.metrics.registry.Describe(descriptions)
	}()
	for d := range descriptions {
		if m := regexp.MustCompile(`fqName: "(mqttsec_\w+)"`).FindStringSubmatch(d.String()); m != nil {
			counted[m[1]] = true
		}
	}

	page, err := os.ReadFile("OPERATIONS.md")
	require.NoError(t, err)
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(mqttsec_\\w+)` \\|").FindAllStringSubmatch(string(page), -1) {
		named[m[1]] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(counted)), slices.Sorted(maps.Keys(named)))
	for _, name := range regexp.MustCompile(`\bmqttsec_\w+`).FindAllString(string(page), -1) {
		require.True(t, counted[name], "%s: there is no such metric", name)
	}
}
