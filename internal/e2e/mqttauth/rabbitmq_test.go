package mqttauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// TestRabbitMQEnforces: a second provisioner, another broker. An account can do what it is for and nothing else.
func TestRabbitMQEnforces(t *testing.T) {
	t.Parallel()
	limited, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	r, err := brokers.StartManagedRabbitMQ(limited)
	if errors.Is(err, brokers.ErrNotInstalled) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	p, err := authbroker.NewRabbitMQ(authbroker.RabbitMQConfig{URL: r.Management().String(), Username: "guest", Password: "guest"})
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%+v", p), "guest")
	connect := func(account authbroker.Account) (mqtt.Client, error) {
		opts := mqtt.NewClientOptions().AddBroker(r.URL(0).String()).SetClientID(account.ClientID).SetUsername(account.Username).
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
	stranger, err := authbroker.NewRabbitMQ(authbroker.RabbitMQConfig{URL: r.Management().String(), Username: "guest", Password: "a guess"})
	require.NoError(t, err)
	var refused *authbroker.RabbitMQError
	require.True(t, errors.As(stranger.Provision(ctx(t), account), &refused))
	require.Equal(t, 401, refused.Status)
	for _, url := range []string{"", "localhost", "ftp://localhost", "http://broker.example:15672"} {
		_, err := authbroker.NewRabbitMQ(authbroker.RabbitMQConfig{URL: url, Username: "u", Password: "p"})
		require.Error(t, err, url)
	}
}
