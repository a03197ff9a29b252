package policy

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// widest is the number of columns beyond which no comment goes, with tabs of four.
const widest = 120

// TestCommentsAreOfOneWidth looks at comments that have lines of their own.
func TestCommentsAreOfOneWidth(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.generated(t) {
			continue
		}
		for _, complaint := range tooWide(f) {
			t.Error(complaint)
		}
	}
}

// tooWide lists the comment lines of a file that are too long. Directives cannot be broken.
func tooWide(f file) []string {
	var complaints []string
	for i, line := range strings.Split(string(f.text), "\n") {
		comment, ok := strings.CutPrefix(strings.TrimLeft(line, "\t "), "//")
		if !ok || strings.HasPrefix(comment, "go:") {
			continue
		}
		if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > widest {
			complaints = append(complaints, fmt.Sprintf("%s:%d: a comment of %d columns, more than %d", f.name, i+1, n, widest))
		}
	}
	return complaints
}

func TestWidthFindsWhatItLooksFor(t *testing.T) {
	fits, tooLong := "// "+strings.Repeat("é", widest-3), "// "+strings.Repeat("x", widest-2)
	text := strings.Join([]string{fits, "\t" + fits, tooLong, "//go:generate " + tooLong, "x := 1 " + tooLong}, "\n")
	require.Equal(t, []string{
		"a.go:2: a comment of 124 columns, more than 120",
		"a.go:3: a comment of 121 columns, more than 120",
	}, tooWide(file{"a.go", []byte(text)}))
}
