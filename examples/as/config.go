package main

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver"
)

// settings are the configuration file; as.json says what its members mean.
type settings struct {
	Issuer          string           `json:"issuer"`
	Listen          string           `json:"listen"`
	Certificate     string           `json:"certificate"`
	PrivateKey      string           `json:"private_key"`
	CA              string           `json:"ca"`
	ClientCAs       string           `json:"client_cas"`
	State           string           `json:"state"`
	SigningKeys     []namedFile      `json:"signing_keys"`
	Audiences       []audience       `json:"audiences"`
	Clients         []client         `json:"clients"`
	ResourceServers []resourceServer `json:"resource_servers"`
	Policies        []policy         `json:"policies"`

	dir string // what file names are relative to
}

// namedFile is a key in a file.
type namedFile struct {
	ID   string `json:"id"`
	File string `json:"file"`
}

type audience struct {
	Name        string                `json:"name"`
	Format      aceserver.Format      `json:"format"`
	Lifetime    duration              `json:"lifetime"`
	Encryption  namedFile             `json:"encryption"`
	Algorithms  []aceserver.Algorithm `json:"algorithms"`
	Certificate string                `json:"certificate"`
	NoClock     bool                  `json:"no_clock"`
	Group       bool                  `json:"group"`
}

// credential is how somebody authenticates.
type credential struct {
	Secret      aceserver.SecretHash `json:"secret"`
	Certificate string               `json:"certificate"`
	DNSName     string               `json:"dns_name"`
}

type client struct {
	ID    string `json:"id"`
	Group string `json:"group"`
	credential
}

type resourceServer struct {
	ID        string   `json:"id"`
	Audiences []string `json:"audiences"`
	credential
}

type policy struct {
	Client   string          `json:"client"`
	Group    string          `json:"group"`
	Audience string          `json:"audience"`
	Scope    aceserver.Scope `json:"scope"`
	Default  aceserver.Scope `json:"default"`
}

// duration is a time.Duration that is written as such: "10m".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a lifetime such as 10m or 90s", text)
	}
	*d = duration(parsed)
	return nil
}

// readSettings reads a configuration file. What it does not know is an error: a word that is misspelt would have no
// effect.
func readSettings(name string) (*settings, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(withoutComments(text)))
	decoder.DisallowUnknownFields()
	s := &settings{dir: filepath.Dir(name)}
	if err := decoder.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if decoder.More() {
		return nil, fmt.Errorf("%s: something behind the closing brace", name)
	}
	switch {
	case s.Listen == "":
		return nil, fmt.Errorf(`%s: "listen" is missing`, name)
	case s.State == "":
		return nil, fmt.Errorf(`%s: "state" is missing`, name)
	case s.Certificate == "" || s.PrivateKey == "":
		return nil, fmt.Errorf(`%s: "certificate" or "private_key" is missing`, name)
	}
	return s, nil
}

// withoutComments blanks the lines that begin with "//", so that errors still count the rest.
func withoutComments(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("//")) {
			lines[i] = nil
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

// file is a name as the configuration has it, relative to that.
func (s *settings) file(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.dir, name)
}

// serverConfig turns the settings into those of the server, all but the store.
func (s *settings) serverConfig() (aceserver.Config, error) {
	cfg := aceserver.Config{Issuer: s.Issuer}
	var errs []error
	failed := func(err error) { errs = append(errs, err) }
	for _, key := range s.SigningKeys {
		signer, err := readSigner(s.file(key.File))
		failed(err)
		cfg.Keys = append(cfg.Keys, aceserver.SigningKey{ID: key.ID, Key: signer})
	}
	for _, a := range s.Audiences {
		converted, err := s.audience(a)
		failed(err)
		cfg.Audiences = append(cfg.Audiences, converted)
	}
	for _, c := range s.Clients {
		converted, err := s.credential(c.credential)
		failed(err)
		cfg.Clients = append(cfg.Clients, aceserver.Client{ID: c.ID, Group: c.Group, Credential: converted})
	}
	for _, r := range s.ResourceServers {
		converted, err := s.credential(r.credential)
		failed(err)
		cfg.ResourceServers = append(cfg.ResourceServers, aceserver.ResourceServer{ID: r.ID, Credential: converted, Audiences: r.Audiences})
	}
	for _, p := range s.Policies {
		cfg.Policies = append(cfg.Policies, aceserver.Policy(p))
	}
	if s.ClientCAs != "" {
		var err error
		cfg.ClientCAs, err = readPool(s.file(s.ClientCAs))
		failed(err)
	}
	return cfg, errors.Join(errs...)
}

func (s *settings) audience(a audience) (aceserver.Audience, error) {
	converted := aceserver.Audience{
		Name:       a.Name,
		Format:     a.Format,
		Algorithms: a.Algorithms,
		Lifetime:   time.Duration(a.Lifetime),
		NoClock:    a.NoClock,
		Group:      a.Group,
	}
	if a.Encryption.File != "" {
		secret, err := readSecret(s.file(a.Encryption.File))
		if err != nil {
			return converted, err
		}
		converted.Encryption = aceserver.TokenKey{ID: a.Encryption.ID, Secret: secret}
	}
	if a.Certificate != "" {
		certificate, err := readCertificate(s.file(a.Certificate))
		if err != nil {
			return converted, err
		}
		converted.Key = certificate.PublicKey
	}
	return converted, nil
}

func (s *settings) credential(c credential) (aceserver.Credential, error) {
	converted := aceserver.Credential{Secret: c.Secret, DNSName: c.DNSName}
	if c.Certificate != "" {
		certificate, err := readCertificate(s.file(c.Certificate))
		if err != nil {
			return converted, err
		}
		converted.Certificate = aceserver.CertificateHash(certificate)
	}
	return converted, nil
}

// tlsConfig is how the server presents itself. It asks clients for certificates and leaves it to the handler to judge
// them.
func (s *settings) tlsConfig() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(s.file(s.Certificate), s.file(s.PrivateKey))
	if err != nil {
		return nil, err
	}
	return serverTLS(certificate), nil
}

func serverTLS(certificate tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		ClientAuth:   tls.RequestClientCert,
	}
}

// readPEM returns the first block of a type.
func readPEM(name, blockType string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == blockType {
			return block.Bytes, nil
		}
	}
	return nil, fmt.Errorf("%s: no PEM block %q", name, blockType)
}

func readSigner(name string) (crypto.Signer, error) {
	der, err := readPEM(name, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", name, key)
	}
	return signer, nil
}

func readCertificate(name string) (*x509.Certificate, error) {
	der, err := readPEM(name, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return certificate, nil
}

func readPool(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificates", name)
	}
	return pool, nil
}

// readSecret reads a key in base64 from a file.
func readSecret(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	secret, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: not base64", name) // and not a word of what is there
	}
	return secret, nil
}
