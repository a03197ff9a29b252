package aceserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

// TestNewSaysWhatIsWrong: each mistake gives one sentence that names it.
func TestNewSaysWhatIsWrong(t *testing.T) {
	_, hash := NewSecret()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	good := func() Config {
		return Config{
			Issuer:          issuer,
			Store:           store.NewMemory(),
			Keys:            []SigningKey{{Key: newEd25519()}},
			Audiences:       []Audience{{Name: "a", Format: JWT, Encryption: TokenKey{"k", random(32)}}, {Name: "g", Group: true}},
			Clients:         []Client{{ID: "c", Credential: Credential{Secret: hash}}},
			ResourceServers: []ResourceServer{{ID: "r", Credential: Credential{Secret: hash}, Audiences: []string{"a"}}},
			Policies:        []Policy{{Client: "c", Audience: "a", Scope: Scope{{Filter: "x/{client_id}", Publish: true}}}},
		}
	}
	_, err = New(good())
	require.NoError(t, err)
	for want, spoil := range map[string]func(*Config){
		"issuer":                        func(c *Config) { c.Issuer = "http://as.example" },
		"https URL":                     func(c *Config) { c.Issuer = "https://as.example/" },
		"without query":                 func(c *Config) { c.Issuer = "https://as.example?x" },
		"fragment":                      func(c *Config) { c.Issuer = "https://as.example/{x}" },
		"BehindProxy needs Address":     func(c *Config) { c.BehindProxy = true },
		"no store":                      func(c *Config) { c.Store = nil },
		"no key to sign":                func(c *Config) { c.Keys = nil },
		"signing key 1":                 func(c *Config) { c.Keys = []SigningKey{{}} },
		"P-256":                         func(c *Config) { c.Keys = []SigningKey{{Key: p384}} },
		`"k" stands there twice`:        func(c *Config) { c.Keys = []SigningKey{{ID: "k", Key: newP256()}, {ID: "k", Key: newP256()}} },
		"no audience":                   func(c *Config) { c.Audiences = nil },
		`audience ""`:                   func(c *Config) { c.Audiences[0].Name = "" },
		`audience "a" stands`:           func(c *Config) { c.Audiences[1].Name = "a" },
		"unknown format":                func(c *Config) { c.Audiences[0].Format = 7 },
		"lifetime":                      func(c *Config) { c.Audiences[0].Lifetime = time.Millisecond },
		"whole seconds":                 func(c *Config) { c.Audiences[0].Lifetime = 1500 * time.Millisecond },
		"32 bytes":                      func(c *Config) { c.Audiences[0].Encryption.Secret = random(16) },
		"needs an ID":                   func(c *Config) { c.Audiences[0].Encryption.ID = "" },
		"must be encrypted":             func(c *Config) { c.Audiences[0].Encryption, c.Audiences[0].Algorithms = TokenKey{}, []Algorithm{HS256} },
		"unknown algorithm":             func(c *Config) { c.Audiences[0].Algorithms = []Algorithm{"RS256"} },
		"no algorithms":                 func(c *Config) { c.Audiences[0].Algorithms = []Algorithm{} },
		"no one key":                    func(c *Config) { c.Audiences[1].Key = newP256().Public() },
		"the broker's key":              func(c *Config) { c.Audiences[0].Key = "x" },
		"nothing to authenticate":       func(c *Config) { c.Clients[0].Credential = Credential{} },
		"printable ASCII":               func(c *Config) { c.Clients[0].ID = "ä" },
		"means any client":              func(c *Config) { c.Clients[0].ID = "*" },
		`client "c" stands there twice`: func(c *Config) { c.Clients = append(c.Clients, c.Clients[0]) },
		`"c" stands there twice`:        func(c *Config) { c.ResourceServers[0].ID = "c" },
		`resource server "r"`:           func(c *Config) { c.ResourceServers[0].Audiences = []string{"b"} },
		"unusable key":                  func(c *Config) { c.Clients[0].Keys = append(c.Clients[0].Keys, p384.Public()) },
		"unknown audience":              func(c *Config) { c.Policies[0].Audience = "b" },
		"either Client or Group":        func(c *Config) { c.Policies[0].Group = "g" },
		"in braces":                     func(c *Config) { c.Policies[0].Scope[0].Filter = "x/{client}" },
		"not a topic filter":            func(c *Config) { c.Policies[0].Scope[0].Filter = "x+" },
		"no permission":                 func(c *Config) { c.Policies[0].Scope[0].Publish = false },
		"beyond the scope":              func(c *Config) { c.Policies[0].Default = Scope{{Filter: "y", Publish: true}} },
	} {
		t.Run(want, func(t *testing.T) {
			cfg := good()
			spoil(&cfg)
			_, err := New(cfg)
			require.ErrorContains(t, err, "aceserver: ")
			require.ErrorContains(t, err, want)
		})
	}
}

// TestBounds: of what New says is wrong in the same words.
func TestBounds(t *testing.T) {
	_, hash := NewSecret()
	for _, bad := range []string{
		"", "://", "https:", "https:///x", "https://user@as.example", "https://as.example#x", "https://as.example/a/", "https://as.example/a/../b",
		"https://as.example/a b",
	} {
		require.False(t, validIssuer(bad), bad)
	}
	for _, good := range []string{"https://as.example", "https://as.example:8443/mqtt/as"} {
		require.True(t, validIssuer(good), good)
	}
	for _, bad := range []string{"", strings.Repeat("x", 256), "a\nb", "a\x7f", AnyClient} {
		require.Error(t, Client{ID: bad, Credential: Credential{Secret: hash}}.validate(), bad)
	}
	require.NoError(t, Client{ID: strings.Repeat("~", 255), Credential: Credential{Secret: hash}}.validate())
	for _, bad := range []Audience{
		{Name: strings.Repeat("x", 256)}, {Name: "a", Format: -1}, {Name: "a", Format: Reference + 1}, {Name: "a", Lifetime: -time.Second},
		{Name: "a", Lifetime: maxLifetime + time.Second}, {Name: "a", Algorithms: []Algorithm{HS256}, Group: true, Format: Reference},
	} {
		require.Error(t, bad.validate(), "%v", bad)
	}
	require.NoError(t, (&Audience{Name: strings.Repeat("x", 255), Format: Reference, Lifetime: maxLifetime}).validate())
	for _, bad := range []string{"a\nb", "a\x7f", strings.Repeat("x", maxKeyID+1)} {
		require.False(t, validKeyID(bad), bad)
	}
	require.True(t, validKeyID(strings.Repeat("~", maxKeyID)))
}

// TestConfigIsCopied: what the caller changes afterwards has no effect, and nothing of the caller's is changed.
func TestConfigIsCopied(t *testing.T) {
	audiences := []Audience{{Name: "a"}}
	cfg := Config{Issuer: issuer, Store: store.NewMemory(), Keys: []SigningKey{{Key: newEd25519()}}, Audiences: audiences}
	s, err := New(cfg)
	require.NoError(t, err)
	require.Equal(t, []Audience{{Name: "a"}}, audiences)
	audiences[0].Name = "b"
	require.Contains(t, s.targets, "a")
}

func TestFormatText(t *testing.T) {
	for _, f := range []Format{JWT, CWT, Reference} {
		text, err := f.MarshalText()
		require.NoError(t, err)
		var got Format
		require.NoError(t, got.UnmarshalText(text))
		require.Equal(t, f, got)
	}
	require.Error(t, new(Format).UnmarshalText([]byte("saml")))
	for f, name := range map[Format]string{-1: "Format(-1)", Reference + 1: "Format(3)"} {
		require.Equal(t, name, f.String())
	}
}

func TestSecretHash(t *testing.T) {
	secret, hash := NewSecret()
	require.True(t, hash.matches(secret))
	require.False(t, hash.matches(secret+"x"))
	require.False(t, hash.matches(""))
	require.False(t, SecretHash{}.matches(""))
	require.False(t, SecretHash{}.matches(secret))
	again, err := HashSecret(secret)
	require.NoError(t, err)
	require.NotEqual(t, hash, again, "a salt of its own")
	require.True(t, again.matches(secret))
	_, err = HashSecret("hunter2")
	require.ErrorContains(t, err, "too short")

	text, err := hash.MarshalText()
	require.NoError(t, err)
	var got SecretHash
	require.NoError(t, got.UnmarshalText(text))
	require.Equal(t, hash, got)
	for _, bad := range []string{"x", "sha256:", "sha256:a:b", "md5:" + string(text[7:]), string(text) + "A", string(text[:len(text)-4]),
		"sha256:AAAA" + string(text[bytes.LastIndexByte(text, ':'):]),
	} {
		require.ErrorIs(t, got.UnmarshalText([]byte(bad)), errSecretHash, bad)
		require.True(t, got.IsZero())
	}
	require.NoError(t, got.UnmarshalText(nil))
	require.True(t, got.IsZero())
}

func TestSecretsAreNotPrinted(t *testing.T) {
	secret := random(32)
	_, hash := NewSecret()
	text, err := hash.MarshalText()
	require.NoError(t, err)
	signing := newEd25519()
	cfg := Config{
		Keys: []SigningKey{{ID: "s", Key: signing}}, Audiences: []Audience{{Name: "a", Encryption: TokenKey{"k", secret}}},
		Clients: []Client{{ID: "c", Credential: Credential{Secret: hash}}},
	}
	var log bytes.Buffer
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))} {
		for _, v := range []any{cfg.Keys, cfg.Keys[0], cfg.Audiences, cfg.Audiences[0].Encryption, cfg.Clients} {
			logger.Info("m", "v", v)
		}
	}
	require.NotContains(t, log.String(), "!ERROR")
	all := log.String() + fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg)
	for _, hidden := range [][]byte{secret, signing.(ed25519.PrivateKey)} {
		require.NotContains(t, all, strings.Trim(fmt.Sprint(hidden), "[]"))
		require.NotContains(t, all, fmt.Sprintf("%#v", hidden))
		require.NotContains(t, all, string(hidden))
		require.NotContains(t, all, base64.StdEncoding.EncodeToString(hidden))
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), string(text))
}
