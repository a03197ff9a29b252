package mqttauth

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// rabbit is a RabbitMQ of this test.
type rabbit struct{ mqtt, management string }

const rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// startRabbit starts RabbitMQ until the test ends, with everything that belongs to it. A machine without it skips the
// test.
func startRabbit(t *testing.T) rabbit {
	t.Helper()
	if _, err := os.Stat(rabbitServer); err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("RabbitMQ is not installed")
	}
	dir := t.TempDir()
	var ports [4]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, ports[i], err = net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	r := rabbit{"127.0.0.1:" + ports[0], "127.0.0.1:" + ports[1]}
	_, managementPort, _ := strings.Cut(r.management, ":")
	conf := "listeners.tcp = none\nmqtt.listeners.tcp.1 = " + r.mqtt + "\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = " + managementPort + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), []byte(conf), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plugins"), []byte("[rabbitmq_mqtt,rabbitmq_management].\n"), 0o600))
	environment := append(os.Environ(),
		"HOME="+dir, "ERL_EPMD_PORT="+ports[2], "ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_NODENAME=mqttsec-"+ports[0]+"@localhost",
		"RABBITMQ_DIST_PORT="+ports[3], "RABBITMQ_MNESIA_BASE="+dir+"/mnesia", "RABBITMQ_LOG_BASE="+dir+"/log", "RABBITMQ_PID_FILE="+dir+"/pid",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+dir+"/plugins", "RABBITMQ_CONFIG_FILE="+dir+"/rabbitmq.conf", "RABBITMQ_CONF_ENV_FILE=/dev/null")
	server := exec.Command(rabbitServer)
	server.Env = environment
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL) // what it stored is of no use to anybody
		_ = server.Wait()
		ends := exec.Command("epmd", "-port", ports[2], "-kill") // it stays behind otherwise
		ends.Env = append(environment, "ERL_EPMD_RELAXED_COMMAND_CHECK=1")
		_ = ends.Run()
	})
	require.Eventually(t, func() bool {
		for _, address := range []string{r.mqtt, r.management} {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return false
			}
			conn.Close()
		}
		return true
	}, 2*patience, 50*time.Millisecond)
	return r
}

// TestRabbitMQEnforces: a second provisioner, another broker. An account can do what it is for and nothing else.
func TestRabbitMQEnforces(t *testing.T) {
	t.Parallel()
	r := startRabbit(t)
	p, err := authbroker.NewRabbitMQ(authbroker.RabbitMQConfig{URL: "http://" + r.management, Username: "guest", Password: "guest"})
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%+v", p), "guest")
	connect := func(account authbroker.Account) (mqtt.Client, error) {
		opts := mqtt.NewClientOptions().AddBroker("tcp://" + r.mqtt).SetClientID(account.ClientID).SetUsername(account.Username).
			SetPassword(account.Password).SetAutoReconnect(false).SetConnectTimeout(patience)
		client := mqtt.NewClient(opts)
		t.Cleanup(func() { client.Disconnect(50) })
		return client, await(client.Connect())
	}
	account := authbroker.Account{
		Username: authbroker.AccountPrefix + "one", Password: "password of one", ClientID: uniqueID(),
		Publish: []string{"plant/1"}, Subscribe: []string{"plant/+/t", "plant/1/#"},
	}
	require.NoError(t, p.Provision(ctx(t), account))
	require.NoError(t, p.Provision(ctx(t), account), "again")
	names, err := p.Accounts(ctx(t))
	require.NoError(t, err)
	require.Equal(t, []string{account.Username}, names)

	client, err := connect(account)
	require.NoError(t, err)
	received := make(chan string, 4)
	for _, filter := range []string{"plant/2/t", "plant/+/t", "plant/1/#"} {
		require.NoError(t, await(client.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) { received <- string(m.Payload()) })), filter)
	}
	require.NoError(t, await(client.Publish("plant/1", 1, false, "x")))
	select {
	case got := <-received:
		require.Equal(t, "x", got)
	case <-time.After(patience):
		require.FailNow(t, "nothing received")
	}
	refusals := map[string]func(mqtt.Client) mqtt.Token{}
	for _, filter := range []string{"#", "plant/#", "plant/2", "plant/+/+", "plant/2/#", "mqttauth/c/+"} {
		refusals["subscribe "+filter] = func(c mqtt.Client) mqtt.Token { return c.Subscribe(filter, 1, nil) }
	}
	for _, topic := range []string{"plant/2", "plant/1/t", "mqttauth/auth"} {
		refusals["publish "+topic] = func(c mqtt.Client) mqtt.Token { return c.Publish(topic, 1, false, "x") }
	}
	for what, try := range refusals {
		client, err := connect(account)
		require.NoError(t, err)
		refused := await(try(client)) != nil
		require.Eventually(t, func() bool { return refused || !client.IsConnected() }, patience, 5*time.Millisecond, what)
	}
	other := account
	other.ClientID = uniqueID()
	client, err = connect(other)
	if err == nil {
		refused := await(client.Subscribe("plant/1/t", 1, nil)) != nil
		require.Eventually(t, func() bool { return refused || !client.IsConnected() }, patience, 5*time.Millisecond, "another Client Identifier's queue")
	}
	client, err = connect(account)
	require.NoError(t, err)
	require.NoError(t, p.Remove(ctx(t), account.Username))
	require.NoError(t, p.Remove(ctx(t), account.Username), "again")
	require.Eventually(t, func() bool { return !client.IsConnected() }, patience, 5*time.Millisecond, "cut off")
	_, err = connect(account)
	require.Error(t, err)

	for _, wrong := range []authbroker.Account{{Publish: []string{"a.b"}}, {Subscribe: []string{"#"}}, {ClientID: "a.b"}} {
		wrong.Username = authbroker.AccountPrefix + "wrong"
		require.Error(t, p.Provision(ctx(t), wrong))
	}
	stranger, err := authbroker.NewRabbitMQ(authbroker.RabbitMQConfig{URL: "http://" + r.management, Username: "guest", Password: "a guess"})
	require.NoError(t, err)
	var refused *authbroker.RabbitMQError
	require.True(t, errors.As(stranger.Provision(ctx(t), account), &refused))
	require.Equal(t, 401, refused.Status)
	for _, url := range []string{"", "localhost", "ftp://localhost", "http://broker.example:15672"} {
		_, err := authbroker.NewRabbitMQ(authbroker.RabbitMQConfig{URL: url, Username: "u", Password: "p"})
		require.Error(t, err, url)
	}
}
