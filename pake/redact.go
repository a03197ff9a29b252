package pake

import (
	"fmt"
	"io"
	"log/slog"
)

// Values that hold secrets print as their type, whatever the verb, so that
// none of them reaches a log by accident.

// Format writes the type and the group alone.
func (v Verifier) Format(f fmt.State, _ rune) { io.WriteString(f, v.redacted()) }

// LogValue is Format for slog, which would else ask for MarshalText.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(v.redacted()) }

func (v Verifier) redacted() string {
	if v.group == nil {
		return "pake.Verifier{}"
	}
	return "pake.Verifier{" + v.Group().String() + "}"
}

// Format writes the type alone.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, "pake.Client{}") }

// Format writes the type alone.
func (s *Server) Format(f fmt.State, _ rune) { io.WriteString(f, "pake.Server{}") }

// Format writes the type alone.
func (d Decoys) Format(f fmt.State, _ rune) { io.WriteString(f, "pake.Decoys{}") }
