package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// config is the configuration file; gateway.sample.yaml says what each setting means.
type config struct {
	file string

	Admin     adminConfig            `yaml:"admin"`
	Upstream  upstreamConfig         `yaml:"upstream"`
	Limits    limitsConfig           `yaml:"limits"`
	Drain     setting[time.Duration] `yaml:"drain"`
	Listeners []listenerConfig       `yaml:"listeners"`
}

type adminConfig struct {
	Address setting[string] `yaml:"address"`
	Pprof   bool            `yaml:"pprof"`
}

type upstreamConfig struct {
	URL           setting[string]        `yaml:"url"`
	CA            setting[string]        `yaml:"ca"`
	Certificate   setting[string]        `yaml:"certificate"`
	Key           setting[string]        `yaml:"key"`
	ServerName    string                 `yaml:"server_name"`
	ProxyProtocol bool                   `yaml:"proxy_protocol"`
	PasswordFile  setting[string]        `yaml:"password_file"`
	Timeout       setting[time.Duration] `yaml:"timeout"`
}

type limitsConfig struct {
	Connections       setting[int]           `yaml:"connections"`
	Pending           setting[int]           `yaml:"pending"`
	PendingPerAddress setting[int]           `yaml:"pending_per_address"`
	ConnectTimeout    setting[time.Duration] `yaml:"connect_timeout"`
	NewPerSecond      setting[int]           `yaml:"new_per_second"`
	BytesPerSecond    setting[int]           `yaml:"bytes_per_second"`
	Memory            setting[int]           `yaml:"memory_mib"`
}

type listenerConfig struct {
	Name      setting[string] `yaml:"name"`
	Address   setting[string] `yaml:"address"`
	Transport setting[string] `yaml:"transport"`
	Origins   []string        `yaml:"origins"`
	Balancers []string        `yaml:"balancers"`
	TLS       *tlsConfig      `yaml:"tls"`
	PSK       *pskConfig      `yaml:"psk"`
	Scheme    setting[string] `yaml:"scheme"`
	ACE       *aceConfig      `yaml:"ace"`
	MQTTAuth  *mqttauthConfig `yaml:"mqttauth"`
}

type tlsConfig struct {
	Certificate setting[string] `yaml:"certificate"`
	Key         setting[string] `yaml:"key"`
	ClientCA    setting[string] `yaml:"client_ca"`
}

// permission is what everybody may do with some topics.
type permission struct {
	Filter    setting[string] `yaml:"filter"`
	Publish   bool            `yaml:"publish"`
	Subscribe bool            `yaml:"subscribe"`
}

// setting is a value that knows on which line it stands; line 0 is one that does not stand in the file.
type setting[T any] struct {
	value T
	line  int
}

// UnmarshalYAML notes the line.
func (s *setting[T]) UnmarshalYAML(n *yaml.Node) error {
	s.line = n.Line
	return n.Decode(&s.value)
}

func (s *setting[T]) orDefault(v T) {
	if s.line == 0 {
		s.value = v
	}
}

// loadConfig reads and checks a configuration file. The error lists all that is wrong, a line each.
func loadConfig(file string) (*config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cfg := &config{file: file}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(cfg); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: empty", file)
		}
		return nil, yamlError(file, err)
	}
	cfg.defaults()
	return cfg, cfg.check()
}

// noField is how the decoder says that a setting does not exist.
var noField = regexp.MustCompile(`line (\d+): field (\S+) not found in type \S+`)

// yamlError makes one line of each error in a file that cannot be decoded.
func yamlError(file string, err error) error {
	typed := (*yaml.TypeError)(nil)
	if !errors.As(err, &typed) {
		return fmt.Errorf("%s: %w", file, err)
	}
	var all []error
	for _, text := range typed.Errors {
		if m := noField.FindStringSubmatch(text); m != nil {
			all = append(all, fmt.Errorf("%s:%s: there is no setting %q here", file, m[1], m[2]))
		} else {
			all = append(all, fmt.Errorf("%s: %s", file, text))
		}
	}
	return errors.Join(all...)
}

func (c *config) defaults() {
	c.Drain.orDefault(10 * time.Second)
	c.Upstream.Timeout.orDefault(5 * time.Second)
	c.Limits.Connections.orDefault(100_000)
	c.Limits.Pending.orDefault(1024)
	c.Limits.PendingPerAddress.orDefault(256)
	c.Limits.ConnectTimeout.orDefault(10 * time.Second)
	for i := range c.Listeners {
		l := &c.Listeners[i]
		l.Transport.orDefault(transportMQTT)
		l.Scheme.orDefault(schemeNone)
		l.Name.orDefault(l.Address.value)
	}
}

// The words of the file.
const (
	transportMQTT      = "mqtt"
	transportWebSocket = "websocket"

	schemeNone     = "none"
	schemeACE      = "ace"
	schemeMQTTAuth = "mqttauth"
)

// checker collects what is wrong with a configuration.
type checker struct {
	file string
	errs []error
}

// wrong notes an error at a line; at line 0 something is missing.
func (c *checker) wrong(line int, format string, args ...any) {
	where := c.file
	if line > 0 {
		where = fmt.Sprintf("%s:%d", c.file, line)
	}
	c.errs = append(c.errs, fmt.Errorf("%s: "+format, append([]any{where}, args...)...))
}

// path makes a file's name relative to the configuration's directory.
func (c *checker) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(c.file), name)
}

// reads checks a file, if one is named, by reading it as it will be read. It tells whether there is one that is right.
func (c *checker) reads(what string, name setting[string], read func(path string) error) bool {
	if name.line == 0 {
		return false
	}
	if err := read(c.path(name.value)); err != nil {
		c.wrong(name.line, "%s: %v", what, err)
		return false
	}
	return true
}

// readable is for files that are read together with others.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// certificates is for files of those whom to trust.
func certificates(path string) error {
	_, err := loadPool(path)
	return err
}

// pair checks a certificate together with its key.
func (c *checker) pair(at string, certificate, key setting[string]) {
	both := c.reads(at+".certificate", certificate, readable)
	if !c.reads(at+".key", key, readable) || !both {
		return
	}
	if _, err := loadCertificate(c.path(certificate.value), c.path(key.value)); err != nil {
		c.wrong(certificate.line, "%s: %v", at, err)
	}
}

func (c *checker) positive(what string, n setting[int], least int) {
	if n.line > 0 && n.value < least {
		c.wrong(n.line, "%s: %d, at least %d", what, n.value, least)
	}
}

func (c *checker) duration(what string, d setting[time.Duration]) {
	if d.line > 0 && d.value <= 0 {
		c.wrong(d.line, "%s: %v, more than 0", what, d.value)
	}
}

func (c *checker) address(what string, a setting[string]) {
	if _, _, err := net.SplitHostPort(a.value); err != nil {
		c.wrong(a.line, "%s: %q is no HOST:PORT", what, a.value)
	}
}

// https checks a URL that must be one of HTTPS.
func (c *checker) https(what string, s setting[string]) {
	if u, err := url.Parse(s.value); err != nil || u.Scheme != "https" || u.Host == "" {
		c.wrong(s.line, "%s: %q is no https URL", what, s.value)
	}
}

func (c *config) check() error {
	k := &checker{file: c.file}
	if c.Admin.Address.line > 0 {
		k.address("admin.address", c.Admin.Address)
	}
	if c.Admin.Pprof && c.Admin.Address.line == 0 {
		k.wrong(0, "admin.pprof without admin.address")
	}
	c.Upstream.check(k)
	k.positive("limits.connections", c.Limits.Connections, 1)
	k.positive("limits.pending", c.Limits.Pending, 1)
	k.positive("limits.pending_per_address", c.Limits.PendingPerAddress, 1)
	k.positive("limits.new_per_second", c.Limits.NewPerSecond, 1)
	k.positive("limits.bytes_per_second", c.Limits.BytesPerSecond, 1024)
	k.positive("limits.memory_mib", c.Limits.Memory, 16)
	k.duration("limits.connect_timeout", c.Limits.ConnectTimeout)
	if c.Drain.value < 0 {
		k.wrong(c.Drain.line, "drain: %v, 0 or more", c.Drain.value)
	}
	if len(c.Listeners) == 0 {
		k.wrong(0, "listeners: at least one is needed")
	}
	var names []string
	for i := range c.Listeners {
		l := &c.Listeners[i]
		l.check(k, fmt.Sprintf("listeners[%d]", i))
		c.checkUploads(k, l, fmt.Sprintf("listeners[%d]", i))
		if slices.Contains(names, l.Name.value) {
			k.wrong(l.Name.line, "listeners[%d].name: %q stands there twice", i, l.Name.value)
		}
		names = append(names, l.Name.value)
	}
	return errors.Join(k.errs...)
}

// fixed names the settings, but for those of listeners that are in both, that differ in another configuration and
// cannot change while the gateway runs.
func (c *config) fixed(next *config) (names []string) {
	differs := func(name string, changed bool) {
		if changed {
			names = append(names, name)
		}
	}
	differs("admin.address", c.Admin.Address.value != next.Admin.Address.value)
	differs("admin.pprof", c.Admin.Pprof != next.Admin.Pprof)
	u, v := &c.Upstream, &next.Upstream
	differs("upstream.url", u.URL.value != v.URL.value)
	differs("upstream.ca", u.CA.value != v.CA.value)
	differs("upstream.certificate", u.Certificate.value != v.Certificate.value)
	differs("upstream.key", u.Key.value != v.Key.value)
	differs("upstream.server_name", u.ServerName != v.ServerName)
	differs("upstream.proxy_protocol", u.ProxyProtocol != v.ProxyProtocol)
	differs("upstream.password_file", u.PasswordFile.value != v.PasswordFile.value)
	differs("upstream.timeout", u.Timeout.value != v.Timeout.value)
	for _, l := range next.Listeners {
		name := l.Name.value
		differs("listeners:"+name, !slices.ContainsFunc(c.Listeners, func(l listenerConfig) bool { return l.Name.value == name }))
	}
	return names
}

func (u *upstreamConfig) check(k *checker) {
	if u.URL.line == 0 {
		k.wrong(0, "upstream.url is missing: the broker to stand in front of")
	} else if _, err := parseUpstream(u.URL.value); err != nil {
		k.wrong(u.URL.line, "upstream.url: %v", err)
	}
	k.reads("upstream.ca", u.CA, certificates)
	k.pair("upstream", u.Certificate, u.Key)
	k.reads("upstream.password_file", u.PasswordFile, func(path string) error {
		_, err := loadPassword(path)
		return err
	})
	if (u.Certificate.line > 0) != (u.Key.line > 0) {
		k.wrong(max(u.Certificate.line, u.Key.line), "upstream.certificate and upstream.key go together")
	}
	k.duration("upstream.timeout", u.Timeout)
}

func (l *listenerConfig) check(k *checker, at string) {
	if l.Address.line == 0 {
		k.wrong(0, "%s.address is missing", at)
	} else {
		k.address(at+".address", l.Address)
	}
	if l.Transport.value != transportMQTT && l.Transport.value != transportWebSocket {
		k.wrong(l.Transport.line, "%s.transport: %q is neither mqtt nor websocket", at, l.Transport.value)
	}
	l.checkOrigins(k, at)
	if _, err := parseBalancers(l.Balancers); err != nil {
		k.wrong(l.Address.line, "%s.balancers: %v", at, err)
	}
	if l.TLS != nil && l.PSK != nil {
		k.wrong(l.Address.line, "%s: tls and psk are two ways to do the same: take one", at)
	}
	if l.TLS != nil {
		l.TLS.check(k, at+".tls")
	}
	if l.PSK != nil {
		l.PSK.check(k, at+".psk", l)
	}
	l.checkScheme(k, at)
}

func (t *tlsConfig) check(k *checker, at string) {
	if t.Certificate.line == 0 || t.Key.line == 0 {
		k.wrong(max(t.Certificate.line, t.Key.line), "%s: certificate and key are both needed", at)
		return
	}
	k.pair(at, t.Certificate, t.Key)
	k.reads(at+".client_ca", t.ClientCA, certificates)
}

func (l *listenerConfig) checkScheme(k *checker, at string) {
	line := max(l.Scheme.line, l.Address.line)
	switch l.Scheme.value {
	case schemeNone:
	case schemeACE:
		if l.ACE == nil {
			k.wrong(line, "%s.ace is missing: what the scheme has to know", at)
		} else {
			l.ACE.check(k, at+".ace")
		}
		if l.ACE != nil && l.TLS == nil && l.PSK == nil {
			k.wrong(line, "%s: scheme ace needs tls or psk, for tokens and proofs must not be seen", at)
		}
	case schemeMQTTAuth:
		if l.MQTTAuth == nil {
			k.wrong(line, "%s.mqttauth is missing: what the scheme has to know", at)
		} else {
			l.MQTTAuth.check(k, at+".mqttauth")
		}
	default:
		k.wrong(l.Scheme.line, "%s.scheme: %q is none of none, ace, mqttauth", at, l.Scheme.value)
	}
	if l.ACE != nil && l.Scheme.value != schemeACE {
		k.wrong(line, "%s.ace without scheme: ace", at)
	}
	if l.MQTTAuth != nil && l.Scheme.value != schemeMQTTAuth {
		k.wrong(line, "%s.mqttauth without scheme: mqttauth", at)
	}
}

func (p *permission) check(k *checker, at string) {
	if !topic.ValidFilter(p.Filter.value) {
		k.wrong(p.Filter.line, "%s.filter: %q is no topic filter", at, p.Filter.value)
	}
	if !p.Publish && !p.Subscribe {
		k.wrong(p.Filter.line, "%s: neither publish nor subscribe", at)
	}
}
