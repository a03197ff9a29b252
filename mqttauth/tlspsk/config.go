package tlspsk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
)

// Config says who a connection is and whom it trusts. A client needs Identity and Key, a server Keys; a Config with all
// three serves both. It must not be changed while connections use it.
type Config struct {
	// Identity is the name under which the peer knows Key: 1 to 64511 octets, UTF-8 by custom and not interpreted. It
	// goes over the network in the clear. A server whose Config has an Identity of its own refuses it to clients: that
	// would be its own hello, reflected or misdirected (RFC 9257 section 5.1).
	Identity string
	// Key is the pre-shared key of a client, 16 octets at least and at most 65535, from a source of randomness. See
	// [CheckKey].
	Key []byte
	// Credentials, if set, gives a client its identity and key instead, anew for each handshake, whose context it gets:
	// for those that change, such as access tokens. Several goroutines may call it at once; the key is not modified.
	// Identity and Key must be empty then.
	Credentials func(ctx context.Context) (identity string, key []byte, err error)
	// Keys returns the key that belongs to an identity, nil if there is none; a server needs it. It may be called by
	// several goroutines at once, and with anything that a stranger has sent. The result is not modified. A peer cannot
	// tell by the answers of a server whether an identity is known; how long Keys takes is up to Keys.
	Keys func(identity string) []byte

	// ServerName is sent by a client to say which host it wants (SNI). Empty, or an IP address, sends nothing. It
	// proves nothing: the key says who the server is.
	ServerName string
	// NextProtos are the application protocols for ALPN, the preferred first; nil means "mqtt". A server with a list
	// refuses a client that offers only others, and serves one that offers none. An empty list that is not nil turns
	// ALPN off.
	NextProtos []string

	// MinVersion is the lowest version to accept, TLS12 if 0.
	MinVersion Version
	// MaxVersion is the highest version to offer, TLS13 if 0. A client needs TLS12 here for a server that knows TLS 1.3
	// but keys only below it.
	MaxVersion Version

	// What tests change.
	suites []CipherSuite // nil: all of a version
	groups []Group       // nil: groupsByPreference
	limit  uint64        // blocks under one key; 0: keyLimit
	watch  func(secret []byte)
}

// Errors of a Config, found with errors.Is.
var (
	// ErrConfig is wrapped by everything that New, NewListener or a handshake finds wrong with a Config.
	ErrConfig = errors.New("tlspsk: invalid configuration")
	// ErrWeakKey is a key that is too short, or that looks like a text or a pattern and not like a random key.
	ErrWeakKey = errors.New("tlspsk: weak key")
)

const (
	maxIdentity   = 1<<16 - 1 - 1024 // leaves room for the rest of a ClientHello
	maxServerName = 255
	maxProtocols  = 64

	// keyLimit is what is encrypted under one key before the next one, in blocks of 16 octets: 2^24 records of full
	// size, below the 2^24.5 of RFC 8446 section 5.5.
	keyLimit = 1 << 34
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, args...))
}

// check finds what is wrong whatever the role.
func (c *Config) check() error {
	if c == nil {
		return invalid("none")
	}
	low, high := c.versions()
	for _, v := range []Version{low, high} {
		if v != TLS12 && v != TLS13 {
			return invalid("%v is not known here", v)
		}
	}
	if low > high {
		return invalid("MinVersion is above MaxVersion")
	}
	if len(c.ServerName) > maxServerName {
		return invalid("ServerName has %d octets", len(c.ServerName))
	}
	if len(c.NextProtos) > maxProtocols {
		return invalid("%d application protocols", len(c.NextProtos))
	}
	for _, name := range c.NextProtos {
		if name == "" || len(name) > 255 {
			return invalid("application protocol of %d octets", len(name))
		}
	}
	return nil
}

func (c *Config) checkClient() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Credentials != nil {
		if c.Identity != "" || c.Key != nil {
			return invalid("Credentials beside Identity or Key")
		}
		return nil
	}
	return checkCredentials(c.Identity, c.Key)
}

func checkCredentials(identity string, key []byte) error {
	if identity == "" {
		return invalid("a client needs an Identity")
	}
	if len(identity) > maxIdentity {
		return invalid("Identity has %d octets, more than %d", len(identity), maxIdentity)
	}
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// resolve returns a Config whose Identity and Key are those of Credentials.
func (c *Config) resolve(ctx context.Context) (*Config, error) {
	if err := c.checkClient(); err != nil || c.Credentials == nil {
		return c, err
	}
	d := *c
	var err error
	if d.Identity, d.Key, err = c.Credentials(ctx); err != nil {
		return nil, fmt.Errorf("tlspsk: credentials: %w", err)
	}
	d.Credentials = nil
	return &d, checkCredentials(d.Identity, d.Key)
}

func (c *Config) checkServer() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Keys == nil {
		return invalid("a server needs Keys")
	}
	return nil
}

// clone copies what c points to, except for what is behind Keys.
func (c *Config) clone() *Config {
	d := *c
	d.Key = slices.Clone(c.Key)
	d.NextProtos = slices.Clone(c.NextProtos)
	return &d
}

// versions are the lowest and the highest.
func (c *Config) versions() (low, high Version) {
	low, high = c.MinVersion, c.MaxVersion
	if low == 0 {
		low = TLS12
	}
	if high == 0 {
		high = TLS13
	}
	return low, high
}

func (c *Config) allows(v Version) bool {
	low, high := c.versions()
	return low <= v && v <= high
}

// suitesFor are the suites for a version, the preferred one first.
func (c *Config) suitesFor(v Version) []CipherSuite {
	all := suitesOf(v)
	if c.suites == nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(c.suites), func(s CipherSuite) bool { return !slices.Contains(all, s) })
}

func (c *Config) usableGroups() []Group {
	if c.groups == nil {
		return groupsByPreference
	}
	return c.groups
}

func (c *Config) protocols() []string {
	if c.NextProtos == nil {
		return []string{"mqtt"} // the name in the IANA registry
	}
	return c.NextProtos
}

// serverName is what a client sends: RFC 6066 section 3 has no addresses there, and no final dot.
func (c *Config) serverName() string {
	host, _, _ := strings.Cut(strings.Trim(c.ServerName, "[]"), "%")
	if net.ParseIP(host) != nil {
		return ""
	}
	return strings.TrimSuffix(c.ServerName, ".")
}

func (c *Config) keyLimit() uint64 {
	if c.limit != 0 {
		return c.limit
	}
	return keyLimit
}

// String shows a Config without its key.
func (c Config) String() string {
	low, high := c.versions()
	return fmt.Sprintf("tlspsk.Config{Identity: %q, Key: %s, ServerName: %q, %v to %v}", c.Identity, c.redacted(), c.ServerName, low, high)
}

// GoString shows a Config without its key.
func (c Config) GoString() string { return c.String() }

// LogValue shows a Config in a log without its key.
func (c Config) LogValue() slog.Value {
	low, high := c.versions()
	return slog.GroupValue(slog.String("identity", c.Identity), slog.String("key", c.redacted()),
		slog.String("server_name", c.ServerName), slog.String("min_version", low.String()), slog.String("max_version", high.String()))
}

func (c Config) redacted() string {
	if len(c.Key) == 0 {
		return "none"
	}
	return "REDACTED"
}
