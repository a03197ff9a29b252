package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program runs the program and returns what it printed.
func program(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, complaints bytes.Buffer
	err := run(t.Context(), args, &out, &complaints)
	return out.String() + complaints.String(), err
}

// TestCheck makes each mistake, and wants one line that says where and what.
func TestCheck(t *testing.T) {
	s := newSite(t)
	s.write("empty.txt", "")
	s.trusts(1)
	s.write("wrong.txt", "id x\nname y\n")
	const upstream = "upstream: {url: \"mqtt://127.0.0.1:1\"}\n"
	const listeners = "listeners:\n  - address: \"127.0.0.1:0\"\n"
	for text, want := range map[string]string{
		"":             "empty",
		"listeners: [": "yaml",
		upstream:       ": listeners: at least one is needed",
		listeners:      ": upstream.url is missing",
		"upstream: {url: \"http://x\"}\n" + listeners:                                                                           ":1: upstream.url: \"http://x\": want mqtt://",
		upstream + "listener: []\n":                                                                                             ":2: there is no setting \"listener\" here",
		upstream + listeners + "    tsl: {}\n":                                                                                  ":4: there is no setting \"tsl\" here",
		upstream + "listeners: [{address: here}]\n":                                                                             ":2: listeners[0].address: \"here\" is no HOST:PORT",
		upstream + "drain: soon\n" + listeners:                                                                                  "line 2: cannot unmarshal",
		upstream + "limits: {connections: 0}\n" + listeners:                                                                     ":2: limits.connections: 0, at least 1",
		upstream + "admin: {address: x}\n" + listeners:                                                                          ":2: admin.address: \"x\" is no HOST:PORT",
		upstream + listeners + "    transport: pigeon\n":                                                                        ":4: listeners[0].transport: \"pigeon\" is neither",
		upstream + listeners + "    balancers: [nearby]\n":                                                                      ":3: listeners[0].balancers: \"nearby\" is neither",
		upstream + listeners + "    scheme: magic\n":                                                                            ":4: listeners[0].scheme: \"magic\" is none of",
		upstream + listeners + "    scheme: ace\n":                                                                              ":4: listeners[0].ace is missing",
		upstream + listeners + "    scheme: mqttauth\n":                                                                         ":4: listeners[0].mqttauth is missing",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s}\n":                                              ":5: listeners[0].mqttauth: one of store and users",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: psk.txt}\n":                              ":5: listeners[0].mqttauth.users: line 2: want a name",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, hop: des}\n":                  ":5: listeners[0].mqttauth.hop: \"des\"",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, claims: [{filter: a/#/b}]}\n": ":5: listeners[0].mqttauth.claims[0].filter: \"a/#/b\"",
		upstream + listeners + "    psk: {}\n":                                                                                  ":3: listeners[0].psk.keys is missing",
		upstream + listeners + "    psk: {tokens: true}\n":                                                                      ":4: listeners[0].psk.tokens without scheme: ace",
		upstream + listeners + "    psk: {keys: psk.txt, tokens: true}\n":                                                       ":4: listeners[0].psk: keys and tokens",
		upstream + listeners + "    psk: {keys: psk.txt, uploads: x}\n":                                                         ":4: listeners[0].psk.uploads without tokens",
		upstream + listeners + "    psk: {keys: psk.txt, identity_as_username: true}\n    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt}\n":                         ":4: listeners[0].psk.identity_as_username with scheme: mqttauth",
		upstream + listeners + "    psk: {tokens: true, uploads: x}\n    scheme: ace\n    ace: {issuer: i, audience: [a], algorithms: [A256GCM], keys: issuer.jwks.json}\n":        ":4: listeners[0].psk.uploads: \"x\" is no listener",
		upstream + listeners + "    psk: {keys: psk.txt}\n    scheme: ace\n    ace: {issuer: i, audience: [a], algorithms: [EdDSA], keys: issuer.jwks.json, revoked: wrong.txt}\n": ":6: listeners[0].ace.revoked: line 2: \"name\" is none of",
		upstream + listeners + "    psk: {keys: none.txt}\n":                                                     ":4: listeners[0].psk.keys: open",
		upstream + listeners + "    tls: {certificate: none.pem, key: server.key}\n":                             ":4: listeners[0].tls.certificate: open",
		upstream + listeners + "    tls: {certificate: empty.txt, key: server.key}\n":                            ":4: listeners[0].tls: ",
		upstream + listeners + "    tls: {certificate: server.pem, key: server.key}\n    psk: {keys: psk.txt}\n": "take one",
		upstream + listeners + "  - address: \"127.0.0.1:0\"\n    name: \"127.0.0.1:0\"\n":                       ":5: listeners[1].name: \"127.0.0.1:0\" stands there twice",
	} {
		file := s.write("wrong.yaml", text)
		_, err := program(t, "-check", "-config", file)
		require.ErrorContains(t, err, file, text)
		require.ErrorContains(t, err, want, text)
		require.Equal(t, 0, strings.Count(strings.TrimSpace(err.Error()), "\n"), "%s\none error, one line", err)
	}
}

// TestSample: the configuration that people start from is right but for the files that it names.
func TestSample(t *testing.T) {
	sample, err := os.ReadFile("gateway.sample.yaml")
	require.NoError(t, err)
	s := newSite(t)
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "sample"), 0o700))
	for _, name := range []string{"server.pem", "server.key", "psk.txt", "users.txt"} {
		require.NoError(t, os.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, "sample", name)))
	}
	s.write("sample/issuer.jwks.json", `{"keys":[
		{"kty":"OKP","crv":"Ed25519","kid":"1","alg":"EdDSA","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"},
		{"kty":"oct","kid":"2","alg":"A256GCM","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}`)
	out, err := program(t, "-check", "-config", s.write("gateway.yaml", string(sample)))
	require.NoError(t, err)
	require.Contains(t, out, "nothing wrong with it")
	s.write("sample/issuer.jwks.json", `{"keys":[]}`)
	_, err = program(t, "-check", "-config", filepath.Join(s.dir, "gateway.yaml"))
	require.ErrorContains(t, err, "no keys in it")
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{
		{}, {"-nonsense"}, {"-config", "x", "and more"}, {"-config", "x", "-demo", "y"}, {"-demo", "x"},
		{"-config", "x", "-upstream", "mqtt://h"}, {"-demo", "x", "-upstream", "mqtt://h", "-check"},
		{"-demo", "x", "-upstream", "mqtt://h", "-lifetime", "1ms"},
	} {
		out, err := program(t, args...)
		require.ErrorIs(t, err, errUsage, args)
		require.Contains(t, out, "usage: gateway", args)
	}
}

// TestTakenAddress: what is wrong with the second listener is said, and the first one's address is free again.
func TestTakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.9:0") // where no other test's listener comes between
	require.NoError(t, err)
	require.NoError(t, free.Close())
	s := newSite(t)
	cfg, err := loadConfig(s.write("gateway.yaml", fmt.Sprintf(
		"upstream: {url: mqtt://127.0.0.1:1}\nlisteners: [{name: one, address: %q}, {name: two, address: %q}]\n", free.Addr(), taken.Addr())))
	require.NoError(t, err)
	_, err = newGateway(cfg, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "listener two")
	free, err = net.Listen("tcp", free.Addr().String())
	require.NoError(t, err)
	require.NoError(t, free.Close())
}
