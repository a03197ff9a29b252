package seal

import (
	"fmt"
	"io"
	"log/slog"
)

// String tells what is set, and nothing that is secret.
func (c Config) String() string {
	signer := "no Signer"
	if c.Signer != nil {
		signer = "Signer hidden"
	}
	return fmt.Sprintf("mqttsec.Config(Keys %v, %s, %d Publishers)", c.Keys, signer, len(c.Publishers))
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// Format writes String whatever the verb: fmt would print the Signer, which may be a private key.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
