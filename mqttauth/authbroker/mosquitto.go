package authbroker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// The topics of mosquitto's dynamic-security plugin.
const (
	controlTopic    = "$CONTROL/dynamic-security/v1"
	controlResponse = controlTopic + "/response"
)

// Mosquitto is a Provisioner for Eclipse Mosquitto 2 with its dynamic-security plugin. An account is a client of the
// plugin, tied to its Client Identifier, with a role of the same name.
type Mosquitto struct {
	link *link

	mu      sync.Mutex
	waiting map[string]chan dynsecResponse
}

// NewMosquitto connects with these options, whose account must be an administrator of the plugin, such as the one that
// "mosquitto_ctrl dynsec init" makes. Close ends the connection.
func NewMosquitto(ctx context.Context, cfg autopaho.ClientConfig) (*Mosquitto, error) {
	m := &Mosquitto{waiting: make(map[string]chan dynsecResponse)}
	up := make(chan struct{}, 1)
	var err error
	cfg.CleanStartOnInitialConnection = true
	m.link, err = newLink(context.WithoutCancel(ctx), cfg, "mqttauth-provisioner-", controlResponse, m.receive, func() { note(up) })
	if err != nil {
		return nil, err
	}
	select {
	case <-up:
		return m, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("authbroker: connecting to mosquitto: %w", context.Cause(ctx)), m.Close())
	}
}

// Close ends the connection.
func (m *Mosquitto) Close() error { return m.link.close() }

// dynsecCommand is a command of the plugin; what it has no use for is empty.
type dynsecCommand struct {
	Command         string       `json:"command"`
	CorrelationData string       `json:"correlationData"`
	Username        string       `json:"username,omitempty"`
	Password        string       `json:"password,omitempty"`
	ClientID        string       `json:"clientid,omitempty"`
	Rolename        string       `json:"rolename,omitempty"`
	Roles           []dynsecRole `json:"roles,omitempty"`
	ACLs            []dynsecACL  `json:"acls,omitempty"`
	Count           int          `json:"count,omitempty"`
}

type dynsecRole struct {
	Rolename string `json:"rolename"`
}

type dynsecACL struct {
	Type     string `json:"acltype"`
	Topic    string `json:"topic"`
	Priority int    `json:"priority"`
	Allow    bool   `json:"allow"`
}

type dynsecResponse struct {
	Command         string `json:"command"`
	CorrelationData string `json:"correlationData"`
	Error           string `json:"error"`
	Data            struct {
		Clients []string `json:"clients"`
		Roles   []string `json:"roles"`
	} `json:"data"`
}

func (m *Mosquitto) receive(p *paho.Publish) {
	if p.Topic != controlResponse || p.Retain {
		return
	}
	var all struct {
		Responses []dynsecResponse `json:"responses"`
	}
	if json.Unmarshal(p.Payload, &all) != nil {
		return // not for us, or we hear in time that there is no answer
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range all.Responses {
		if waiting := m.waiting[r.CorrelationData]; waiting != nil {
			delete(m.waiting, r.CorrelationData)
			waiting <- r
		}
	}
}

// do has a command carried out.
func (m *Mosquitto) do(ctx context.Context, c dynsecCommand) (dynsecResponse, error) {
	c.CorrelationData = rand.Text()
	payload, err := json.Marshal(map[string][]dynsecCommand{"commands": {c}})
	if err != nil {
		return dynsecResponse{}, err
	}
	waiting := make(chan dynsecResponse, 1)
	m.mu.Lock()
	m.waiting[c.CorrelationData] = waiting
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.waiting, c.CorrelationData)
	}()
	if err := m.link.publish(ctx, controlTopic, payload, 1); err != nil {
		return dynsecResponse{}, fmt.Errorf("authbroker: mosquitto: %s: %w", c.Command, err)
	}
	select {
	case r := <-waiting:
		if r.Error != "" {
			return r, &MosquittoError{Command: c.Command, Message: r.Error}
		}
		return r, nil
	case <-ctx.Done():
		return dynsecResponse{}, fmt.Errorf("authbroker: mosquitto: no answer to %s: %w", c.Command, context.Cause(ctx))
	}
}

// MosquittoError is what mosquitto's dynamic-security plugin has against a command.
type MosquittoError struct {
	Command string // what it was to do
	Message string // why it did not, in its words
}

// Error says both.
func (e *MosquittoError) Error() string {
	return fmt.Sprintf("authbroker: mosquitto: %s: %s", e.Command, e.Message)
}

// missing tells that what was to be changed does not exist, exists that what was to be made does.
func missing(err error) bool { return plaint(err, "not found") }

func exists(err error) bool { return plaint(err, "already exists") }

func plaint(err error, words string) bool {
	var e *MosquittoError
	return errors.As(err, &e) && strings.Contains(e.Message, words)
}

// Priorities of ACLs: what a token permits goes before the ban on everything.
const (
	banned    = 0
	permitted = 1
)

// ban forbids everything.
func ban() []dynsecACL {
	return []dynsecACL{
		{"publishClientSend", "#", banned, false}, {"publishClientReceive", "#", banned, false}, {"subscribePattern", "#", banned, false},
	}
}

var errPattern = errors.New("authbroker: mosquitto: a filter with %c or %u in it")

// patterned tells of a filter that an access list of mosquitto's can mean more by than it says: its files have the
// Client Identifier and the user name in place of %c and %u. The plugin of 2.0 takes them as they are, but if one ever
// does not, who claims "%c/#" has the topics of every Client Identifier that she chooses.
func patterned(filter string) bool {
	return strings.Contains(filter, "%c") || strings.Contains(filter, "%u")
}

// Provision implements Provisioner. A filter with "%c" or "%u" in it is an error. What the role does not permit it
// forbids in so many words, whatever the plugin's defaults are, also to receive what an older session is still
// subscribed to.
func (m *Mosquitto) Provision(ctx context.Context, a Account) error {
	for _, filter := range slices.Concat(a.Publish, a.Subscribe) {
		if patterned(filter) {
			return fmt.Errorf("%w: %.80q", errPattern, filter)
		}
	}
	acls := ban()
	for _, filter := range a.Publish {
		acls = append(acls, dynsecACL{"publishClientSend", filter, permitted, true})
	}
	for _, filter := range a.Subscribe {
		acls = append(acls, dynsecACL{"subscribePattern", filter, permitted, true}, dynsecACL{"publishClientReceive", filter, permitted, true})
	}
	if _, err := m.do(ctx, dynsecCommand{Command: "createRole", Rolename: a.Username, ACLs: acls}); err != nil && !exists(err) {
		return err
	}
	_, err := m.do(ctx, dynsecCommand{
		Command: "createClient", Username: a.Username, Password: a.Password, ClientID: a.ClientID, Roles: []dynsecRole{{a.Username}},
	})
	if err != nil && !exists(err) {
		return err
	}
	return nil
}

// Remove implements Provisioner.
func (m *Mosquitto) Remove(ctx context.Context, username string) error {
	if _, err := m.do(ctx, dynsecCommand{Command: "deleteClient", Username: username}); err != nil && !missing(err) {
		return err
	}
	if _, err := m.do(ctx, dynsecCommand{Command: "deleteRole", Rolename: username}); err != nil && !missing(err) {
		return err
	}
	return nil
}

// Accounts implements Provisioner.
func (m *Mosquitto) Accounts(ctx context.Context) (names []string, err error) {
	clients, err := m.do(ctx, dynsecCommand{Command: "listClients", Count: -1})
	if err != nil {
		return nil, err
	}
	roles, err := m.do(ctx, dynsecCommand{Command: "listRoles", Count: -1})
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, name := range append(clients.Data.Clients, roles.Data.Roles...) {
		if strings.HasPrefix(name, AccountPrefix) && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

// MosquittoSetup says what NewMosquitto's administrator is to prepare at the broker for an Authority.
type MosquittoSetup struct {
	// Bootstrap is the user name and password of the account with which devices log in; they are known to everybody.
	Bootstrap, BootstrapPassword string
	// Authority and AuthorityPassword are the account for AuthorityConfig.Client. It is no administrator.
	Authority, AuthorityPassword string
	// AuthenticationTopic and TemporaryTopic are those of AuthorityConfig.
	AuthenticationTopic, TemporaryTopic string
}

// Names of the roles that Setup makes.
const (
	roleBootstrap = "authority-bootstrap"
	roleAuthority = "authority"
)

// Setup makes the bootstrap account and the Authority's, which may use the two topics, from either side, and nothing
// else; whoever has the bootstrap account may listen for the answers to a Client Identifier that he knows, but not for
// all of them. It may be repeated; what is there already stays as it is, passwords among it.
func (m *Mosquitto) Setup(ctx context.Context, s MosquittoSetup) error {
	c := core{authenticationTopic: s.AuthenticationTopic, temporaryTopic: s.TemporaryTopic}
	c.topics()
	answers := temporaryFilter(c.temporaryTopic)
	commands := []dynsecCommand{
		{Command: "createRole", Rolename: roleBootstrap, ACLs: append(ban(), []dynsecACL{
			{"publishClientSend", c.authenticationTopic, permitted, true},
			{"subscribePattern", answers, permitted, true}, {"publishClientReceive", answers, permitted, true},
			// One's own answers: who hears all of them knows every Client Identifier, and can end every run.
			{"subscribeLiteral", answers, permitted, false},
		}...)},
		{Command: "createRole", Rolename: roleAuthority, ACLs: append(ban(), []dynsecACL{
			{"publishClientSend", answers, permitted, true},
			{"subscribePattern", c.authenticationTopic, permitted, true}, {"publishClientReceive", c.authenticationTopic, permitted, true},
		}...)},
		{Command: "createClient", Username: s.Bootstrap, Password: s.BootstrapPassword, Roles: []dynsecRole{{roleBootstrap}}},
		{Command: "createClient", Username: s.Authority, Password: s.AuthorityPassword, Roles: []dynsecRole{{roleAuthority}}},
	}
	for _, command := range commands {
		_, err := m.do(ctx, command)
		if err != nil && !exists(err) {
			return err
		}
	}
	return nil
}
