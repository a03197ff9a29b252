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
	s.issue("other")
	s.trusts(1)
	s.credentials()
	s.write("decoys.secret", strings.Repeat("secret! ", 4))
	s.write("wrong.txt", "id x\nname y\n")
	const upstream = "upstream: {url: \"mqtt://127.0.0.1:1\"}\n"
	const mine = "address: \"h:1\", certificate: server.pem, key: server.key"
	const theirs = "ca: ca.pem, certificate: peer.pem, key: peer.key"
	const sharing = upstream + "listeners:\n  - address: \"127.0.0.1:0\"\n    scheme: mqttauth\n    mqttauth:\n      server: s\n"
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
		upstream + listeners + "    origins: [https://a.example]\n":                                                             ":3: listeners[0].origins without transport: websocket",
		upstream + listeners + "    transport: websocket\n    origins: [a.example]\n":                                           ":3: listeners[0].origins: \"a.example\" is no origin",
		upstream + listeners + "    transport: websocket\n    origins: [https://a.example/]\n":                                  ":3: listeners[0].origins: \"https://a.example/\" is no origin",
		upstream + listeners + "    scheme: magic\n":                                                                            ":4: listeners[0].scheme: \"magic\" is none of",
		upstream + listeners + "    scheme: ace\n":                                                                              ":4: listeners[0].ace is missing",
		upstream + listeners + "    scheme: mqttauth\n":                                                                         ":4: listeners[0].mqttauth is missing",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s}\n":                                              ":5: listeners[0].mqttauth: one of store and users",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: psk.txt}\n":                              ":5: listeners[0].mqttauth.users: line 2: want a name",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, hop: des}\n":                  ":5: listeners[0].mqttauth.hop: \"des\"",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, claims: [{filter: a/#/b}]}\n": ":5: listeners[0].mqttauth.claims[0].filter: \"a/#/b\"",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, group: p521}\n":               ":5: listeners[0].mqttauth.group and listeners[0].mqttauth.stretch: \"p521\" is neither",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth:\n      server: s\n      users: users.txt\n      stretch: {time: 2, memory_kib: 19, threads: 1}\n": ":8: listeners[0].mqttauth.group and listeners[0].mqttauth.stretch: pake: Argon2id with 2 passes, 19 KiB",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, stretch: {time: 2, skip: true}}\n":                                  ":5: listeners[0].mqttauth.group and listeners[0].mqttauth.stretch: pake: ",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, stretch: {threads: 300}}\n":                                         "line 5: cannot unmarshal",
		upstream + listeners + "    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt, decoys: wrong.txt}\n":                                               "fewer than 32 octets",
		upstream + listeners + "    psk: {}\n":                                       ":3: listeners[0].psk.keys is missing",
		upstream + listeners + "    psk: {tokens: true}\n":                           ":4: listeners[0].psk.tokens without scheme: ace",
		upstream + listeners + "    psk: {keys: psk.txt, tokens: true}\n":            ":4: listeners[0].psk: keys and tokens",
		upstream + listeners + "    psk: {keys: psk.txt, client_identifier: mine}\n": ":4: listeners[0].psk.client_identifier: \"mine\" is neither",
		upstream + listeners + "    psk: {keys: psk.txt, client_identifier: identity}\n    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt}\n":                        ":4: listeners[0].psk.client_identifier with scheme: mqttauth",
		upstream + listeners + "    psk: {keys: psk.txt, uploads: x}\n":                                                                                                            ":4: listeners[0].psk.uploads without tokens",
		upstream + listeners + "    psk: {keys: psk.txt, identity_as_username: true}\n    scheme: mqttauth\n    mqttauth: {server: s, users: users.txt}\n":                         ":4: listeners[0].psk.identity_as_username with scheme: mqttauth",
		sharing + "      users: users.txt\n      share: {" + mine + ", client_ca: ca.pem}\n":                                                                                       ":8: listeners[0].mqttauth.share without store",
		sharing + "      store: a.db\n      share: {" + mine + "}\n":                                                                                                               ":8: listeners[0].mqttauth.share: certificate, key and client_ca are all",
		sharing + "      store: a.db\n      share: {" + mine + ", client_ca: empty.txt}\n":                                                                                         ":8: listeners[0].mqttauth.share.client_ca: ",
		sharing + "      store: a.db\n      share: {certificate: server.pem, key: server.key, client_ca: ca.pem}\n":                                                                ":6: listeners[0].mqttauth.share.address is missing",
		sharing + "      store: a.db\n      decoys: decoys.secret\n      share: {" + mine + ", client_ca: ca.pem}\n":                                                               ":8: listeners[0].mqttauth.decoys with share",
		sharing + "      shared: {url: \"https://h:1\"}\n":                                                                                                                         ":7: listeners[0].mqttauth.shared: certificate, key and ca are all",
		sharing + "      shared: {url: \"http://h:1\", " + theirs + "}\n":                                                                                                          ":7: listeners[0].mqttauth.shared.url: \"http://h:1\" is no https URL",
		sharing + "      shared: {" + theirs + "}\n":                                                                                                                               ":6: listeners[0].mqttauth.shared.url is missing",
		sharing + "      shared: {url: \"https://h:1\", grace: 1ms, " + theirs + "}\n":                                                                                             ":7: listeners[0].mqttauth.shared.grace: 1ms, at least 1s",
		sharing + "      shared: {url: \"https://h:1\", ca: ca.pem, certificate: peer.pem, key: other.key}\n":                                                                      ":7: listeners[0].mqttauth.shared: ",
		sharing + "      users: users.txt\n      shared: {url: \"https://h:1\", " + theirs + "}\n":                                                                                 ":7: listeners[0].mqttauth.users with shared",
		sharing + "      store: a.db\n      shared: {url: \"https://h:1\", " + theirs + "}\n":                                                                                      ":7: listeners[0].mqttauth.store with shared",
		upstream + listeners + "    psk: {tokens: true, uploads: x}\n    scheme: ace\n    ace: {issuer: i, audience: [a], algorithms: [A256GCM], keys: issuer.jwks.json}\n":        ":4: listeners[0].psk.uploads: \"x\" is no listener",
		upstream + listeners + "    psk: {keys: psk.txt}\n    scheme: ace\n    ace: {issuer: i, audience: [a], algorithms: [EdDSA], keys: issuer.jwks.json, revoked: wrong.txt}\n": ":6: listeners[0].ace.revoked: line 2: \"name\" is none of",
		upstream + listeners + "    psk: {keys: users.txt}\n":                                                                                                                      ": tlspsk: invalid key file: line 2: ",
		upstream + listeners + "    tls: {certificate: server.pem, key: server.key, client_ca: empty.txt}\n":                                                                       ":4: listeners[0].tls.client_ca: ",
		upstream + listeners + "    tls: {certificate: server.pem, key: other.key}\n":                                                                                              ":4: listeners[0].tls: ",
		upstream + listeners + "    tls: {certificate: server.pem}\n":                                                                                                              ":4: listeners[0].tls: certificate and key are both needed",
		"upstream: {url: \"mqtts://h\", ca: empty.txt}\n" + listeners:                                                                                                              ":1: upstream.ca: ",
		"upstream: {url: \"mqtts://h\", certificate: server.pem, key: other.key}\n" + listeners:                                                                                    ":1: upstream: ",
		"upstream: {url: \"mqtts://h\", certificate: server.pem}\n" + listeners:                                                                                                    ":1: upstream.certificate and upstream.key go together",
		"upstream: {url: \"mqtt://h\", password_file: empty.txt}\n" + listeners:                                                                                                    ":1: upstream.password_file: ",
		upstream + listeners + "    psk: {keys: none.txt}\n":                                                                                                                       ":4: listeners[0].psk.keys: tlspsk: open",
		upstream + listeners + "    tls: {certificate: none.pem, key: server.key}\n":                                                                                               ":4: listeners[0].tls.certificate: open",
		upstream + listeners + "    tls: {certificate: empty.txt, key: server.key}\n":                                                                                              ":4: listeners[0].tls: ",
		upstream + listeners + "    tls: {certificate: server.pem, key: server.key}\n    psk: {keys: psk.txt}\n":                                                                   "take one",
		upstream + listeners + "  - address: \"127.0.0.1:0\"\n    name: \"127.0.0.1:0\"\n":                                                                                         ":5: listeners[1].name: \"127.0.0.1:0\" stands there twice",
	} {
		file := s.write("wrong.yaml", text)
		_, err := program(t, "-check", "-config", file)
		require.ErrorContains(t, err, file, text)
		require.ErrorContains(t, err, want, text)
		require.Equal(t, 0, strings.Count(strings.TrimSpace(err.Error()), "\n"), "%s\none error, one line", err)
	}
}

// TestCheckFindsAll: one mistake does not hide another.
func TestCheckFindsAll(t *testing.T) {
	s := newSite(t)
	s.write("empty.txt", "")
	s.trusts(1)
	_, err := program(t, "-check", "-config", s.write("wrong.yaml", `
admin: {address: x}
upstream: {url: "mqtt://127.0.0.1:1", ca: empty.txt}
listeners:
  - {name: a, address: "127.0.0.1:0", tls: {certificate: empty.txt, key: server.key}}
  - {name: b, address: "127.0.0.1:0", psk: {keys: empty.txt}}
  - {name: c, address: "127.0.0.1:0", scheme: mqttauth, mqttauth: {server: s, users: psk.txt}}
  - name: d
    address: "127.0.0.1:0"
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: {issuer: i, audience: [a], algorithms: [EdDSA], keys: empty.txt}
`))
	require.Error(t, err)
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for i, want := range []string{
		":2: admin.address", ":3: upstream.ca", ":5: listeners[0].tls", ":7: listeners[2].mqttauth.users", ":12: listeners[3].ace",
	} {
		require.Contains(t, lines[i], want)
	}
	require.Len(t, lines, 5, "a file without keys is one that nobody gets in by, yet")
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
