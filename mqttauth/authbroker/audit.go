package authbroker

import (
	"log/slog"

	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
)

// operationNames are what a log calls operations.
var operationNames = map[operation.Kind]string{
	operation.Claim: "claim", operation.Release: "release", operation.Epoch: "new epoch", operation.Present: "present",
	operation.Revoke: "revoke", operation.Ticket: "ticket",
}

// audit writes what became of an operation: refusals as warnings.
func audit(logger *slog.Logger, o *operation.Operation, result *operation.Result) {
	name := operationNames[o.Kind]
	if o.Kind == operation.Present && result.Code == operation.Done {
		for i, v := range result.Tokens {
			p := &o.Tokens[i]
			line := logger.With("filter", shown(p.Filter()), "kind", p.Kind.String(), "claim", shown(p.Claim))
			if v.Code == operation.Done {
				line.Info("token accepted", "until", v.Until)
			} else {
				line.Warn("token refused", "reason", v.Code.Error())
			}
		}
		return
	}
	if result.Code != operation.Done {
		logger.Warn(name+" refused", "filter", shown(o.Filter), "reason", result.Code.Error())
		return
	}
	line := logger.With("filter", shown(o.Filter))
	switch o.Kind {
	case operation.Claim, operation.Epoch:
		line = line.With("epoch", o.Epoch, "until", result.Until)
	case operation.Revoke:
		line = line.With("token", o.Token.String())
	case operation.Ticket:
		line = logger.With("account", result.Username, "until", result.Until)
	}
	line.Info(name)
}

// judged counts what became of an operation.
func (c *counters) judged(o *operation.Operation, result *operation.Result) {
	switch o.Kind {
	case operation.Claim, operation.Epoch:
		if result.Code == operation.Done {
			c.claimed.Add(1)
		} else {
			c.claimRefused.Add(1)
		}
	case operation.Present:
		for _, v := range result.Tokens {
			if v.Code == operation.Done {
				c.presented.Add(1)
			} else {
				c.presentRefused.Add(1)
			}
		}
	}
}
