package brokers

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLed reads what nodes say of their leader.
func TestLed(t *testing.T) {
	const first, none = "[1] [INF] JetStream cluster new metadata leader: node0/mqttsec", "[1] [INF] JetStream cluster no metadata leader"
	const self, remote = "[1] [INF] Self is new JetStream cluster metadata leader", "[1] [INF] JetStream cluster new remote metadata leader"
	all, left := new(Cluster), &Cluster{killed: []int{0}}
	for _, test := range []struct {
		log []string
		c   *Cluster
		led bool
	}{
		{nil, all, false},
		{[]string{none}, all, false},
		{[]string{none, first, "something else"}, all, true},
		{[]string{first}, left, false},
		{[]string{self, none}, left, false},
		{[]string{first, self}, left, true},
		{[]string{first, none, remote}, left, true},
	} {
		require.Equal(t, test.led, test.c.led(test.log) == nil, "%q", test.log)
	}
}
