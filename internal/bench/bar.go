package bench

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	barCells = 30
	barEvery = 100 * time.Millisecond
	barText  = 44 // characters of the label, so that a line of 80 holds it all
)

// Bar draws progress into one line of a terminal. A nil Bar draws nothing.
type Bar struct {
	w     io.Writer
	shown time.Time
	drawn bool
}

// NewBar returns a Bar on f if f is a terminal, and nil if not.
func NewBar(f *os.File) *Bar {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &Bar{w: f}
}

// Show draws fraction, 0 to 1, and a label. It does not draw more often than one can
// see.
func (b *Bar) Show(fraction float64, label string) {
	if b == nil || time.Since(b.shown) < barEvery {
		return
	}
	b.shown, b.drawn = time.Now(), true
	full := int(min(max(fraction, 0), 1) * barCells)
	if r := []rune(label); len(r) > barText {
		label = string(r[:barText])
	}
	fmt.Fprintf(b.w, "\r\x1b[K%s%s %3.0f%% %s", strings.Repeat("█", full), strings.Repeat("░", barCells-full), 100*fraction, label)
}

// Clear removes the bar, so that something else can be written in its place.
func (b *Bar) Clear() {
	if b == nil || !b.drawn {
		return
	}
	b.drawn, b.shown = false, time.Time{}
	fmt.Fprint(b.w, "\r\x1b[K")
}
