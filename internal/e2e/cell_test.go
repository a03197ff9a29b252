package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// marker is in every payload that the application wants to keep secret.
const marker = "secret"

// place is where a test takes place: one library, one broker, one transport, one scheme.
type place struct {
	suite     suite
	driver    driver
	broker    brokers.Broker
	transport string
	lacks     lacks
}

// lacks is what a broker does not have. Those that were made for all of MQTT lack nothing.
type lacks struct {
	v5               bool
	qos2             bool // it grants and delivers QoS 1 in its place
	wildcardRetained bool // only subscriptions without wildcards bring retained messages
	promptRetained   bool // it acknowledges a retained message before everybody gets that one, and as retained
	shared           bool // it has no shared subscriptions, or only for MQTT 5
	nextIdentifier   bool // whether it takes that of the last message again is a matter of chance
}

// qos is the most that the broker has of it.
func (p place) qos(wanted byte) byte {
	if p.lacks.qos2 {
		return min(wanted, 1)
	}
	return wanted
}

// cell is one test at one place, with topics, clients and a key of its own, and an eavesdropper.
type cell struct {
	place
	t            testing.TB
	ctx          context.Context
	root         string // the topics of this test are below it
	end          string // a topic that no key covers
	eavesdropper client
}

func newCell(t testing.TB, p place) *cell {
	t.Helper()
	id := unique("cell")
	c := &cell{place: p, t: t, ctx: patient(t), root: "e2e/" + id, end: "end/" + id}
	c.eavesdropper = c.connectPlain("eavesdropper")
	require.NoError(t, c.eavesdropper.subscribe(c.ctx, c.root+"/#", c.qos(2)))
	require.NoError(t, c.eavesdropper.subscribe(c.ctx, c.end, c.qos(2)))
	return c
}

func (c *cell) topic(name string) string { return c.root + "/" + name }

// sealing is the configuration that all clients of the cell share.
func (c *cell) sealing() sealing { return testSealing(c.t, c.root) }

// connect makes a protected client, and sees to its end.
func (c *cell) connect(o options) client {
	c.t.Helper()
	cli, err := c.tryConnect(o)
	require.NoError(c.t, err)
	return cli
}

func (c *cell) tryConnect(o options) (client, error) {
	return c.connectWith(c.driver, c.suite.new(c.t, c.sealing()), o)
}

// connectPlain makes an unprotected client of MQTT v5, which shows most of what the broker has, or of what there is.
func (c *cell) connectPlain(name string) client {
	c.t.Helper()
	d := drivers()[0]
	if c.lacks.v5 {
		d = c.driver
	}
	cli, err := c.connectWith(d, plain{}, options{id: unique(name), url: c.broker.URL(brokers.TCP)})
	require.NoError(c.t, err)
	return cli
}

func (c *cell) connectWith(d driver, s scheme, o options) (client, error) {
	if o.id == "" {
		o.id = unique("client")
	}
	if o.url == nil {
		o.url = c.broker.URL(c.transport)
	}
	o.roots = c.broker.RootCAs()
	if b, ok := c.broker.(interface{ User() string }); ok {
		o.user = b.User()
	}
	cli, err := d.connect(c.ctx, s, o)
	if err == nil {
		c.t.Cleanup(func() { _ = cli.disconnect(c.ctx) }) // the test may have done it
	}
	return cli, err
}

// overheard returns everything that the eavesdropper has heard by now below the root.
func (c *cell) overheard() []message {
	c.t.Helper()
	// The broker has taken in what the application published, or the application would still wait; so what is
	// published now comes behind it.
	end := c.connectPlain("end")
	last := unique("end")
	require.NoError(c.t, end.publish(c.ctx, message{topic: c.end, payload: []byte(last), qos: c.qos(2)}))
	heard, err := c.eavesdropper.inbox().awaitPayload(c.ctx, last)
	require.NoError(c.t, err)
	var below []message
	for _, m := range heard {
		if strings.HasPrefix(m.topic, c.root+"/") {
			below = append(below, m)
		}
	}
	return below
}

// requireSecrecy proves that only sealed frames have passed the broker, at least one of them: they look like frames,
// they hold nothing that the application wrote, and whoever has the key can open them. Without a scheme it proves
// that the eavesdropper is a good one.
func (c *cell) requireSecrecy() {
	c.t.Helper()
	heard := c.overheard()
	require.NotEmpty(c.t, heard, "the eavesdropper heard nothing")
	opener, seen := c.suite.new(c.t, c.sealing()), make(map[string]bool)
	for _, m := range heard {
		if len(m.payload) == 0 {
			continue // clears a retained message, and tells nothing
		}
		if !c.suite.sealed {
			require.Contains(c.t, string(m.payload), marker)
			continue
		}
		require.EqualValues(c.t, 0xFC, m.payload[0], "not a sealed frame: %.40q", m.payload)
		require.NotContains(c.t, string(m.payload), marker)
		if m.properties != nil {
			require.Empty(c.t, m.properties.ContentType)
			require.Empty(c.t, m.properties.ResponseTopic)
			require.Empty(c.t, m.properties.CorrelationData)
			require.Empty(c.t, m.properties.User)
		}
		if seen[string(m.payload)] {
			continue // the same frame once more
		}
		seen[string(m.payload)] = true
		opened, err := opener.(sealer).Open(m.topic, m.payload)
		if _, ok := opener.(sealedTwice); ok && errors.Is(err, aesmsg.ErrReplay) {
			continue // sent again: the upper scheme's frame is the same, the lower's is not
		}
		require.NoError(c.t, err)
		require.Contains(c.t, string(opened), marker)
	}
}

// requireNothingReadable proves that no file below dir holds what the application wrote, although there are files;
// without a scheme, that they do hold it.
func (c *cell) requireNothingReadable(dir string) {
	c.t.Helper()
	var everything []byte
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		everything = append(everything, text...)
		return err
	})
	require.NoError(c.t, err)
	require.NotEmpty(c.t, everything, "nothing was stored")
	require.Equal(c.t, !c.suite.sealed, bytes.Contains(everything, []byte(marker)), "plaintext in %s", dir)
}
