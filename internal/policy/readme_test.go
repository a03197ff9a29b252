package policy

import (
	"go/build"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// readme is the page that people see first.
const readme = "README.md"

// A snippet is one fenced block of a Markdown text.
type snippet struct {
	line     int // of the opening fence
	language string
	text     []string
}

func snippets(t *testing.T, text string) []snippet {
	t.Helper()
	var found []snippet
	open := false
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open:
			require.Empty(t, language, "line %d: a fence inside a fence", i+1)
			open = false
		case fence:
			found = append(found, snippet{line: i + 1, language: language})
			open = true
		case open:
			last := &found[len(found)-1]
			last.text = append(last.text, line)
		}
	}
	require.False(t, open, "the last fence is open")
	return found
}

// code is the Go code of a snippet: all of a Go block; of a diff the code
// before and the code after it, where they differ.
func (s snippet) code() (versions [][]string, ok bool) {
	switch s.language {
	case "go":
		return [][]string{s.text}, true
	case "diff":
		var before, after []string
		for _, line := range s.text {
			rest := line[min(1, len(line)):]
			if !strings.HasPrefix(line, "+") {
				before = append(before, rest)
			}
			if !strings.HasPrefix(line, "-") {
				after = append(after, rest)
			}
		}
		return [][]string{before, after}, true
	}
	return nil, false
}

// squeeze makes lines comparable: no empty ones, no indentation, one space
// where there are several.
func squeeze(lines []string) []string {
	var kept []string
	for _, line := range lines {
		if words := strings.Fields(line); len(words) > 0 {
			kept = append(kept, strings.Join(words, " "))
		}
	}
	return kept
}

// occurs reports whether the lines of part follow each other somewhere in
// whole.
func occurs(part, whole []string) bool {
	for i := 0; i+len(part) <= len(whole); i++ {
		if slices.Equal(part, whole[i:i+len(part)]) {
			return true
		}
	}
	return false
}

// examples are the squeezed lines of all Go files that show users something
// and that the go tool compiles here: the programs in examples and the example
// tests of the packages.
func examples(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, f := range goFiles(t) {
		if !strings.HasPrefix(f.name, "examples/") && !strings.HasPrefix(path.Base(f.name), "example") {
			continue
		}
		compiled, err := build.Default.MatchFile(filepath.Join(root, path.Dir(f.name)), path.Base(f.name))
		require.NoError(t, err)
		if compiled {
			found[f.name] = squeeze(strings.Split(string(f.text), "\n"))
		}
	}
	return found
}

func readReadme(t *testing.T) string {
	t.Helper()
	return string(files(t, func(name string) bool { return name == readme })[0].text)
}

// pages are all Markdown texts.
func pages(t *testing.T) []file {
	t.Helper()
	return files(t, func(name string) bool {
		return path.Ext(name) == ".md" && !strings.Contains("/"+name, "/testdata/")
	})
}

// TestPagesShowCodeThatCompiles finds each Go snippet of the pages, and both sides of each diff, in an example. Shell
// commands are run by examples.TestCommands, so there is no language for configurations: a page makes a file by a
// command, and has the program check it.
func TestPagesShowCodeThatCompiles(t *testing.T) {
	compiled, shown := examples(t), map[string]int{}
	for _, page := range pages(t) {
		for _, s := range snippets(t, string(page.text)) {
			versions, ok := s.code()
			if !ok {
				// What is no Go code says so; a fence without a language could hide some.
				require.Contains(t, []string{"sh", "text", "mermaid"}, s.language, "%s:%d", page.name, s.line)
				continue
			}
			shown[page.name]++
			for _, complaint := range uncompiled(versions, compiled) {
				t.Errorf("%s:%d: %s", page.name, s.line, complaint)
			}
		}
	}
	require.NotZero(t, shown[readme], "the README shows no Go code")
}

func uncompiled(versions [][]string, examples map[string][]string) []string {
	var complaints []string
	for _, version := range versions {
		part, found := squeeze(version), false
		for _, whole := range examples {
			found = found || occurs(part, whole)
		}
		if !found {
			complaints = append(complaints, "not in any example that compiles:\n"+strings.Join(part, "\n"))
		}
	}
	return complaints
}

func TestReadmeSnippetsFindsWhatItLooksFor(t *testing.T) {
	text := strings.Join([]string{
		"Some text with `code`.", "```go", "f()  // here", "", "g()", "```", "more",
		"```diff", " x := 1", "-old(x)", "+new(x)", "```",
	}, "\n")
	found := snippets(t, text)
	require.Len(t, found, 2)
	compiled := map[string][]string{"a.go": squeeze([]string{"{", "\tf() // here", "\tg()", "}", "x := 1", "old(x)"})}

	versions, ok := found[0].code()
	require.True(t, ok)
	require.Empty(t, uncompiled(versions, compiled))

	versions, ok = found[1].code()
	require.True(t, ok)
	require.Equal(t, []string{"not in any example that compiles:\nx := 1\nnew(x)"}, uncompiled(versions, compiled))
}

// TestPagesNamePrograms finds the program of each go command that the pages tell people to type, in running text too.
func TestPagesNamePrograms(t *testing.T) {
	text := readReadme(t)
	for _, command := range []string{"go run ./examples/quickstart", "go test ./..."} {
		require.Contains(t, text, command)
	}
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile(`go (?:run|build -o \S+) (\./[\w./-]+)`).FindAllStringSubmatch(string(page.text), -1) {
			pkg, err := build.ImportDir(filepath.Join(root, match[1]), 0)
			require.NoError(t, err, page.name)
			require.Equal(t, "main", pkg.Name, "%s: %s", page.name, match[1])
		}
	}
}

// TestPagesLinksLead checks the links that stay inside the module, and the headings that they name.
func TestPagesLinksLead(t *testing.T) {
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(page.text), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			target, heading, _ := strings.Cut(match[1], "#")
			name := page.name
			if target != "" {
				name = path.Join(path.Dir(page.name), target)
			}
			_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
			require.NoError(t, err, "a link of %s", page.name)
			if heading == "" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			require.NoError(t, err)
			require.Contains(t, anchors(string(text)), heading, "a link of %s to %s", page.name, name)
		}
	}
}

// anchors are the names that the headings of a page have in links.
func anchors(text string) (names []string) {
	for _, match := range regexp.MustCompile(`(?m)^#+ +(.+?) *$`).FindAllStringSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(match[1]), " ", "-")
		names = append(names, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return names
}

func TestAnchors(t *testing.T) {
	require.Equal(t, []string{"a-fleet-that-is-in-use", "keys-and-backups", "from-a-to-b"}, anchors("# A fleet, that is in use\ntext\n## Keys and backups \n### From `a` to b\n"))
}
