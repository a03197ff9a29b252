package presentcipher

import (
	"fmt"
	"io"
)

// What fmt prints of a cipher, with any verb, is its name and the path it
// takes on this machine, never the key.

func (a *aead) String() string { return "PRESENT-CTR with LightMAC (" + a.path.String() + ")" }

func (v *vectorAEAD) String() string { a := v.aead(); return a.String() }

func (b *block) String() string { return "PRESENT (" + b.path.String() + ")" }

func (a *aead) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }

func (v *vectorAEAD) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, v.String()) }

func (b *block) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, b.String()) }
