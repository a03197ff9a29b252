package attacks

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	numbered = regexp.MustCompile(`^//\t *(\d+)  \S`)
	tests    = regexp.MustCompile(`^//\t    (\S+) +(Test\w+(?: Test\w+)*)$`)
)

// TestTable reads the table of the package documentation: there are 18 attacks, each has a test, and every test that
// is named exists in its package; and each test of this package has its place.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	const here = "internal/e2e/attacks"
	exist := make(map[string]map[string]bool)
	named := map[string]bool{"TestMain": true, "TestTable": true}
	attack, plays := 0, make(map[int][]string)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := numbered.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			require.Equal(t, attack+1, n, line)
			attack = n
			continue
		}
		m := tests.FindStringSubmatch(line)
		if m == nil {
			require.False(t, strings.Contains(line, "Test") && strings.HasPrefix(line, "//\t"), line)
			continue
		}
		if exist[m[1]] == nil {
			exist[m[1]] = testsOf(t, filepath.Join("..", "..", "..", filepath.FromSlash(m[1])))
		}
		for name := range strings.FieldsSeq(m[2]) {
			require.True(t, exist[m[1]][name], "attack %d: %s has no %s", attack, m[1], name)
			plays[attack] = append(plays[attack], name)
			if m[1] == here {
				named[name] = true
			}
		}
	}
	require.Equal(t, 18, attack)
	for n := 1; n <= attack; n++ {
		require.NotEmpty(t, plays[n], "attack %d", n)
	}
	require.Equal(t, plays, threats(t), "what the threat model shows to readers")
	for name := range exist[here] {
		require.True(t, named[name], "%s is in no row", name)
	}
}

var (
	row    = regexp.MustCompile(`^\| (\d+) \|`)
	linked = regexp.MustCompile(`\[(Test\w+)\]\((\S+)\)`)
)

// threats are the tests that examples/THREATS.md names for each attack. Each is where its link leads.
func threats(t *testing.T) map[int][]string {
	t.Helper()
	const page = "../../../examples/THREATS.md"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	plays := make(map[int][]string)
	for line := range strings.Lines(string(text)) {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		for _, link := range linked.FindAllStringSubmatch(line, -1) {
			file := filepath.Join(filepath.Dir(page), filepath.FromSlash(link[2]))
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Contains(t, string(source), "func "+link[1]+"(", file)
			plays[n] = append(plays[n], link[1])
		}
	}
	return plays
}

// testsOf are the names of the tests in a directory.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declaration := range parsed.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}
