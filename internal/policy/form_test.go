package policy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGoFilesAreFormatted(t *testing.T) {
	for _, f := range goFiles(t) {
		formatted, err := format.Source(f.text)
		require.NoError(t, err, f.name)
		if !bytes.Equal(formatted, f.text) {
			t.Errorf("%s: gofmt would change it", f.name)
		}
	}
}

// longest is the number of lines beyond which nobody reads a file in one go.
const longest = 500

func TestGoFilesCanBeReadInOneSitting(t *testing.T) {
	for _, f := range goFiles(t) {
		if n := bytes.Count(f.text, []byte("\n")); n > longest && !f.generated(t) {
			t.Errorf("%s: %d lines, more than %d: split it", f.name, n, longest)
		}
	}
}

// A wording is something that no file may contain. The patterns are put
// together from pieces so that this file does not contain them.
var wordings = []struct {
	what    string
	pattern string
}{
	{"a note to finish something later", `\b(` + "TO" + `DO|` + "FIX" + `ME)\b`},
	{"a path of somebody's machine", `(^|[\s"'=(` + "`" + `])(/` + `home/\w|/` + `root/|/` + `Users/\w|/` + `work/|[A-Z]:\\` + `Users\\)`},
	{"a path outside the module", `\.\./` + `shared\b`},
	{"the address of a package registry", `\b(proxy|sum)\.` + `golang\.org|registry\.` + `npmjs|pypi\.` + `org`},
	{"an unresolved merge", `(?m)^(<{7}|>{7}) `},
}

func TestWording(t *testing.T) {
	all := files(t, everything)
	for _, w := range wordings {
		pattern := regexp.MustCompile("(?m)" + w.pattern)
		for _, f := range all {
			for _, at := range pattern.FindAllIndex(f.text, -1) {
				line := 1 + bytes.Count(f.text[:at[0]], []byte("\n"))
				t.Errorf("%s:%d: %s: %q", f.name, line, w.what, f.text[at[0]:at[1]])
			}
		}
	}
}

func TestWordingFindsWhatItLooksFor(t *testing.T) {
	bad := map[string][]string{
		"a note to finish something later":  {"// TO" + "DO: later", "FIX" + "ME"},
		"a path of somebody's machine":      {`"/ho` + `me/ann/x"`, "see /ro" + "ot/x", `C:` + `\Users\ann`, "at /wo" + "rk/x"},
		"a path outside the module":         {"../sha" + "red/vectors"},
		"the address of a package registry": {"GOPROXY=https://proxy." + "golang.org", "registry." + "npmjs.org", "pypi." + "org"},
		"an unresolved merge":               {"<<<<<<" + "< HEAD"},
	}
	good := []string{"mastodon", "topic home/kitchen", "https://example.org/home/ann", "site/work/7", "<<< and >>>"}
	for _, w := range wordings {
		pattern := regexp.MustCompile("(?m)" + w.pattern)
		require.NotEmpty(t, bad[w.what], w.what)
		for _, text := range bad[w.what] {
			require.Regexp(t, pattern, text)
		}
		for _, text := range good {
			require.NotRegexp(t, pattern, text)
		}
	}
}

// TestTextFiles checks what gofmt checks in Go files for those that people
// write in other languages.
func TestTextFiles(t *testing.T) {
	written := files(t, func(name string) bool {
		if strings.Contains("/"+name, "/testdata/") {
			return false
		}
		switch path.Ext(name) {
		case ".md", ".s", ".mjs", ".js", ".sh", ".mod":
			return true
		}
		return name == ".ci/run"
	})
	blank := regexp.MustCompile(`(?m)[ \t\r]+$`)
	for _, f := range written {
		if at := blank.FindIndex(f.text); at != nil {
			t.Errorf("%s:%d: white space at the end of a line", f.name, 1+bytes.Count(f.text[:at[0]], []byte("\n")))
		}
		if !bytes.HasSuffix(f.text, []byte("\n")) {
			t.Errorf("%s: no newline at its end", f.name)
		}
	}
}

func TestModuleIsWhole(t *testing.T) {
	for _, f := range files(t, func(name string) bool { return path.Base(name) == "go.mod" }) {
		require.NotRegexp(t, `(?m)^\s*(replace|exclude)\b`, string(f.text), f.name)
	}
}

// TestNothingHappensOnImport refuses init functions: a package that registers
// or measures something when it is linked in cannot be reasoned about by the
// program that links it.
func TestNothingHappensOnImport(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.isTest() {
			continue
		}
		for _, decl := range f.parse(t, parser.SkipObjectResolution).Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init", f.name)
			}
		}
	}
}

// TestFuzzTargetsHaveSeeds wants a start for every fuzz target: without one,
// go test runs it on nothing.
func TestFuzzTargetsHaveSeeds(t *testing.T) {
	corpus := map[string]bool{}
	for _, f := range files(t, everything) {
		corpus[path.Dir(f.name)] = true
	}
	for _, f := range goFiles(t) {
		if !f.isTest() {
			continue
		}
		for _, decl := range f.parse(t, parser.SkipObjectResolution).Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			stored := fmt.Sprintf("%s/testdata/fuzz/%s", path.Dir(f.name), fn.Name.Name)
			body := string(f.text[fn.Body.Pos()-1 : fn.Body.End()-1])
			if !corpus[stored] && !strings.Contains(body, ".Add(") && !strings.Contains(body, "(f)") && !strings.Contains(body, "(f,") {
				t.Errorf("%s: %s has no seed: neither f.Add nor %s", f.name, fn.Name.Name, stored)
			}
		}
	}
}
