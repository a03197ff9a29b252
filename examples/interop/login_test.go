package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/pake"
)

// login is a request to login.mjs.
type login struct {
	Host     string   `json:"host"`
	Port     int      `json:"port"`
	Version  int      `json:"version"`
	User     string   `json:"user"`
	Password string   `json:"password"`
	Server   string   `json:"server"`
	ClientID string   `json:"clientID"`
	Tokens   []string `json:"tokens"`
	Topic    string   `json:"topic"`
	Payload  string   `json:"payload"`
}

// loggedIn is its answer.
type loggedIn struct {
	Error    string `json:"error"`
	Payload  string `json:"payload"`
	Exported string `json:"exported"`
}

func (l login) run(t *testing.T) (answer loggedIn) {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("Node.js is not installed")
	}
	require.NoError(t, err)
	request, err := json.Marshal(l)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "login.mjs")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &answer))
	return answer
}

// exports is a listener that tells what its connections export.
type exports struct {
	net.Listener
	exported chan string
}

func (l exports) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	material, err := conn.(*authbroker.Conn).ExportKeyingMaterial("test", []byte("context"), 32)
	if err == nil {
		l.exported <- hex.EncodeToString(material)
	}
	return conn, nil
}

// TestNodeLogsIn: the client in JavaScript is let in by the broker half on both versions of MQTT, shows tokens that a
// Go owner has made, and has the same keying material; a wrong password, another server's name and no token get it
// nowhere.
func TestNodeLogsIn(t *testing.T) {
	const server = "broker.test"
	none := pake.Stretch{Skip: true}
	store := authbroker.MemoryStore()
	defer store.Close()
	for _, user := range []string{"owner", "node"} {
		v, err := pake.NewVerifier(pake.Config{Stretch: none}, user, server, []byte("secret of "+user))
		require.NoError(t, err)
		require.NoError(t, store.SetUser(user, v))
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l, err := authbroker.NewListener(inner, authbroker.Config{Server: server, Store: store, Stretch: none})
	require.NoError(t, err)
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	defer b.Close()
	exported := make(chan string, 16)
	require.NoError(t, b.Serve(exports{l, exported}))

	auth, err := mqttauth.New(mqttauth.Config{User: "owner", Password: []byte("secret of owner"), Server: server, Stretch: none})
	require.NoError(t, err)
	client := mqtt.NewClient(auth.WrapV3(mqtt.NewClientOptions().AddBroker("mqtt://" + inner.Addr().String()).SetClientID("interop-owner")))
	connected := client.Connect()
	require.True(t, connected.WaitTimeout(30*time.Second))
	require.NoError(t, connected.Error())
	defer client.Disconnect(0)
	owner, err := mqttauth.NewOwnerToken("site/#")
	require.NoError(t, err)
	_, err = auth.Claim(t.Context(), owner, time.Hour)
	require.NoError(t, err)
	<-exported

	var tokens []string
	for _, kind := range []mqttauth.Kind{mqttauth.Auth1, mqttauth.Auth2} {
		token, err := owner.Issue(mqttauth.Terms{Kind: kind, Filter: "site/7/#", Expires: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		text, err := token.MarshalText()
		require.NoError(t, err)
		tokens = append(tokens, string(text))
	}
	host, port, err := net.SplitHostPort(inner.Addr().String())
	require.NoError(t, err)
	good := login{
		Host: host, User: "node", Password: "secret of node", Server: server,
		Tokens: tokens, Topic: "site/7/temp", Payload: "21.5",
	}
	good.Port, err = strconv.Atoi(port)
	require.NoError(t, err)
	for _, version := range []int{4, 5} {
		good.Version, good.ClientID = version, "interop-node-"+strconv.Itoa(version)
		answer := good.run(t)
		require.Empty(t, answer.Error, "version %d", version)
		require.Equal(t, "21.5", answer.Payload)
		require.Equal(t, <-exported, answer.Exported)

		for name, change := range map[string]func(*login){
			"password": func(l *login) { l.Password = "wrong" },
			"server":   func(l *login) { l.Server = "another" },
			"user":     func(l *login) { l.User = "nobody" },
			"topic":    func(l *login) { l.Topic = "site/8/temp" },
			"token":    func(l *login) { l.Tokens = nil; l.ClientID += "-none" },
		} {
			bad := good
			change(&bad)
			require.NotEmpty(t, bad.run(t).Error, "version %d: %s", version, name)
		}
		for len(exported) > 0 {
			<-exported
		}
	}
}
