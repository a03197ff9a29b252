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
	attack, plays := 0, make(map[int]int)
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
			plays[attack]++
			if m[1] == here {
				named[name] = true
			}
		}
	}
	require.Equal(t, 18, attack)
	for n := 1; n <= attack; n++ {
		require.Positive(t, plays[n], "attack %d", n)
	}
	for name := range exist[here] {
		require.True(t, named[name], "%s is in no row", name)
	}
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
