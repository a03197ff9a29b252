package authbroker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// RabbitMQConfig says how to reach a RabbitMQ's management plugin. URL, Username and Password are required.
type RabbitMQConfig struct {
	// URL is the plugin's, https://HOST:15671 for example. Passwords go over it, so http is for this machine alone.
	URL string
	// Username is that of an administrator.
	Username string
	// Password is the administrator's.
	Password string
	// VHost is the one of the MQTT plugin, "/" if empty, and Exchange its topic exchange, "amq.topic" if empty.
	VHost, Exchange string
	// Client makes the requests; http.DefaultClient if nil.
	Client *http.Client
}

// RabbitMQ is a Provisioner for RabbitMQ with its MQTT plugin: an account is a user with permissions for topics and for
// the queues of one Client Identifier. It is safe for concurrent use.
//
// RabbitMQ has "." for "/" within, so that "plant.1" is no topic of its own: filters and Client Identifiers with a dot
// are refused. It does not tie a user to a Client Identifier: an account cannot subscribe under another one, but can
// end its connection. A PUBLISH or SUBSCRIBE that it refuses ends the connection of who sent it. An Authority itself
// needs MQTT 5 there, which RabbitMQ has from 3.13.
type RabbitMQ struct {
	cfg  RabbitMQConfig
	base *url.URL
}

// NewRabbitMQ returns a Provisioner, or an error that names what is wrong with cfg. It does not connect.
func NewRabbitMQ(cfg RabbitMQConfig) (*RabbitMQ, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("authbroker: RabbitMQConfig.URL: %w", err)
	}
	ip := net.ParseIP(base.Hostname())
	here := base.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case base.Host == "", base.Scheme != "https" && base.Scheme != "http":
		return nil, fmt.Errorf("authbroker: RabbitMQConfig.URL %q: want https://HOST:PORT", base.Redacted())
	case base.Scheme == "http" && !here:
		return nil, fmt.Errorf("authbroker: RabbitMQConfig.URL %q would send passwords in the clear", base.Redacted())
	case cfg.Username == "" || cfg.Password == "":
		return nil, errors.New("authbroker: RabbitMQConfig.Username and Password are required")
	}
	cfg.VHost, cfg.Exchange = cmp.Or(cfg.VHost, "/"), cmp.Or(cfg.Exchange, "amq.topic")
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	return &RabbitMQ{cfg: cfg, base: base}, nil
}

// Format writes the type and the address alone.
func (r *RabbitMQ) Format(f fmt.State, _ rune) {
	io.WriteString(f, "authbroker.RabbitMQ("+r.base.Redacted()+")")
}

// RabbitMQError is an answer of RabbitMQ's management plugin that is no success.
type RabbitMQError struct {
	Method, Path string // of the request
	Status       int    // of the response
}

// Error says what was refused.
func (e *RabbitMQError) Error() string {
	return fmt.Sprintf("authbroker: RabbitMQ: %s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
}

// maxAnswer bounds what is read of an answer, bytes.
const maxAnswer = 64 << 20

// do makes a request; path are its segments behind /api.
func (r *RabbitMQ) do(ctx context.Context, method string, body, answer any, path ...string) error {
	u := *r.base
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	raw := strings.TrimSuffix(u.EscapedPath(), "/") + "/api/" + strings.Join(path, "/")
	var err error
	if u.Path, err = url.PathUnescape(raw); err != nil {
		return err
	}
	u.RawPath = raw
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), &content)
	if err != nil {
		return fmt.Errorf("authbroker: RabbitMQ: %w", err)
	}
	request.SetBasicAuth(r.cfg.Username, r.cfg.Password)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.cfg.Client.Do(request)
	if err != nil {
		return fmt.Errorf("authbroker: RabbitMQ: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return &RabbitMQError{Method: method, Path: raw, Status: response.StatusCode}
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer)
}

// nothing is an expression that no topic matches.
const nothing = "^$"

// Provision implements Provisioner.
func (r *RabbitMQ) Provision(ctx context.Context, a Account) error {
	write, err := expression(a.Publish)
	if err != nil {
		return err
	}
	read, err := expression(a.Subscribe)
	if err != nil {
		return err
	}
	if strings.Contains(a.ClientID, ".") {
		return fmt.Errorf("authbroker: RabbitMQ: Client Identifier %q has a dot", a.ClientID)
	}
	return r.provision(ctx, a.Username, a.Password, regexp.QuoteMeta(a.ClientID), write, read)
}

// provision makes a user whose topics are limited before it has any.
func (r *RabbitMQ) provision(ctx context.Context, username, password, clientID, write, read string) error {
	if err := r.do(ctx, http.MethodPut, map[string]string{"password": password, "tags": ""}, nil, "users", username); err != nil {
		return err
	}
	topics := map[string]string{"exchange": r.cfg.Exchange, "write": write, "read": read}
	if err := r.do(ctx, http.MethodPut, topics, nil, "topic-permissions", r.cfg.VHost, username); err != nil {
		return err
	}
	queues := `mqtt-subscription-` + clientID + `qos[01]`
	both := "^(" + queues + "|" + regexp.QuoteMeta(r.cfg.Exchange) + ")$"
	permissions := map[string]string{"configure": "^" + queues + "$", "write": both, "read": both}
	return r.do(ctx, http.MethodPut, permissions, nil, "permissions", r.cfg.VHost, username)
}

// Remove implements Provisioner. RabbitMQ ends the connections of a user whom it deletes.
func (r *RabbitMQ) Remove(ctx context.Context, username string) error {
	err := r.do(ctx, http.MethodDelete, nil, nil, "users", username)
	var answer *RabbitMQError
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// Accounts implements Provisioner.
func (r *RabbitMQ) Accounts(ctx context.Context) (names []string, err error) {
	var users []struct{ Name string }
	if err := r.do(ctx, http.MethodGet, nil, &users, "users"); err != nil {
		return nil, err
	}
	for _, u := range users {
		if strings.HasPrefix(u.Name, AccountPrefix) {
			names = append(names, u.Name)
		}
	}
	return names, nil
}

// expression is a regular expression for the routing keys that RabbitMQ makes of topics, and of the filters that one
// of the given ones covers: "/" is ".", "+" is "*".
func expression(filters []string) (string, error) {
	if len(filters) == 0 {
		return nothing, nil
	}
	alternatives := make([]string, len(filters))
	for i, filter := range filters {
		if strings.Contains(filter, ".") || strings.ContainsAny(filter, "*") {
			return "", fmt.Errorf("authbroker: RabbitMQ: %q has a dot or an asterisk, which stand for something else there", filter)
		}
		if strings.HasPrefix(filter, "#") || strings.HasPrefix(filter, "+") {
			return "", fmt.Errorf("authbroker: RabbitMQ: %q begins with a wildcard, which would take in what is RabbitMQ's own", filter)
		}
		var b strings.Builder
		for n, level := range strings.Split(filter, "/") {
			switch {
			case level == "#":
				b.WriteString(`(\..*)?`)
				continue
			case n > 0:
				b.WriteString(`\.`)
			}
			if level == "+" {
				b.WriteString(`[^.#]*`)
			} else {
				b.WriteString(regexp.QuoteMeta(level))
			}
		}
		alternatives[i] = b.String()
	}
	return "^(" + strings.Join(alternatives, "|") + ")$", nil
}
