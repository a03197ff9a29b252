package pop

import (
	"fmt"
	"io"
	"log/slog"
)

// hidden keeps a value from fmt where it cannot call the methods below: in a field that is not exported, of whatever
// struct. It follows one pointer there, and prints the address for two.
type hidden[T any] struct{ at **T }

func hide[T any](value T) hidden[T] {
	at := &value
	return hidden[T]{&at}
}

// value returns what is hidden, the zero T for nothing.
func (h hidden[T]) value() (value T) {
	if h.at != nil {
		value = **h.at
	}
	return value
}

// Format writes the type and the algorithm alone, whatever the verb.
func (v Verifier) Format(f fmt.State, _ rune) { io.WriteString(f, v.redacted()) }

// LogValue is Format for slog.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(v.redacted()) }

func (v Verifier) redacted() string { return "pop.Verifier{" + string(v.alg) + "}" }

// Format writes the type and the algorithm alone, whatever the verb.
func (p Prover) Format(f fmt.State, _ rune) { io.WriteString(f, p.redacted()) }

// LogValue is Format for slog.
func (p Prover) LogValue() slog.Value { return slog.StringValue(p.redacted()) }

func (p Prover) redacted() string { return "pop.Prover{" + string(p.key.alg) + "}" }

// Format writes the type and the kind of key alone, whatever the verb.
func (k JWK) Format(f fmt.State, _ rune) { io.WriteString(f, k.redacted()) }

// LogValue is Format for slog.
func (k JWK) LogValue() slog.Value { return slog.StringValue(k.redacted()) }

func (k JWK) redacted() string {
	switch {
	case k.Secret != nil:
		return "pop.JWK{oct}"
	case k.Public != nil:
		return fmt.Sprintf("pop.JWK{%T}", k.Public)
	}
	return "pop.JWK{}"
}
