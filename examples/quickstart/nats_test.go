package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// TestNATS runs every payload scheme against nats-server, which speaks MQTT 3.1.1
// only, alone and as a cluster.
func TestNATS(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			broker, err := brokers.StartNATS(ctx, nodes)
			if errors.Is(err, brokers.ErrNoNATS) && os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, broker.Close()) })
			for _, scheme := range []string{"aes", "present"} {
				out, err := quickstart(t, "-broker", broker.URL(nodes-1).String(), "-scheme", scheme)
				require.NoError(t, err, out)
				require.Contains(t, out, "This broker takes MQTT 3.1.1 only")
				require.Contains(t, out, "All of it as promised.")
			}
		})
	}
}
