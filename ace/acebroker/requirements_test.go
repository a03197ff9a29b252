package acebroker

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirements are the letters of the specification's ids, with how many there are of each.
var requirements = map[string]int{"C": 11, "A": 11, "S": 7, "T": 3, "Z": 6, "M": 12, "E": 6, "R": 5, "V": 3}

// A line of the table in a package's documentation.
var requirementLine = regexp.MustCompile(`(?m)^//\t([A-Z]-\d+) +(\S+) +(\S.*)$`)

// TestEveryRequirementHasATest compares the table in the package documentation with the tests that there are, and the
// tables of the three packages together with the specification: none may be forgotten by all.
func TestEveryRequirementHasATest(t *testing.T) {
	tests := testsIn(t, ".", "../../internal/guard", "../../internal/e2e/ace")
	own := table(t, "doc.go")
	for id, line := range own {
		require.True(t, line[0] == "none" || tests[line[0]], "%s: there is no test %s", id, line[0])
		for _, other := range regexp.MustCompile(`\bTest\w+`).FindAllString(line[1], -1) {
			require.True(t, tests[other], "%s: there is no test %s", id, other)
		}
	}
	client, server := table(t, "../doc.go"), table(t, "../aceserver/doc.go")
	for letter, last := range requirements {
		for n := 1; n <= last; n++ {
			id := fmt.Sprintf("%s-%d", letter, n)
			_, here := own[id]
			_, there := client[id]
			_, elsewhere := server[id]
			require.True(t, here || there || elsewhere, "%s has no line in any package", id)
			require.True(t, here || letter == "C" || letter == "A", "%s has no line here", id)
		}
	}
}

// table reads the lines of a package's documentation.
func table(t *testing.T, name string) map[string][2]string {
	t.Helper()
	doc, err := os.ReadFile(name)
	require.NoError(t, err)
	lines := map[string][2]string{}
	for _, line := range requirementLine.FindAllStringSubmatch(string(doc), -1) {
		_, twice := lines[line[1]]
		require.False(t, twice, "%s: %s stands there twice", name, line[1])
		lines[line[1]] = [2]string{line[2], line[3]}
	}
	require.NotEmpty(t, lines, name)
	return lines
}

// testsIn are the names of the tests in directories.
func testsIn(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
		require.NotEmpty(t, names)
		for _, name := range names {
			tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, declaration := range tree.Decls {
				if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil {
					tests[f.Name.Name] = true
				}
			}
		}
	}
	return tests
}
