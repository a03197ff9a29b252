package main

import (
	"context"
	"fmt"
)

// A version is one that the broker speaks, with the client that does too.
type version struct {
	name   string
	client func(id string, protection scheme) client
}

func (s server) mqtt5() version {
	return version{"MQTT 5", func(id string, protection scheme) client { return s.v5(id, protection) }}
}

func (s server) mqtt311() version {
	return version{"MQTT 3.1.1", func(id string, protection scheme) client { return s.v3(id, protection) }}
}

// versions tries what the broker speaks: MQTT 5 and 3.1.1, or one of them. If it
// speaks neither to us, the error says what to do about that.
func (s server) versions(ctx context.Context) ([]version, error) {
	var spoken []version
	var refusals []error
	for _, v := range []version{s.mqtt5(), s.mqtt311()} {
		conn, err := v.client(id("probe"), nil).connect(ctx)
		if err == nil {
			conn.close()
			spoken = append(spoken, v)
			continue
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to %s: %w", s.url.Redacted(), context.Cause(ctx))
		}
		refusals = append(refusals, err)
	}
	if len(spoken) == 0 {
		return nil, s.explain(ctx, refusals)
	}
	return spoken, nil
}
