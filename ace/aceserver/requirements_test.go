package aceserver

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lastRequirement is how many requirements on an Authorization Server there are; each has a line.
const lastRequirement = 11

// TestEveryRequirementHasATest compares the table in the package documentation with the tests that there are.
func TestEveryRequirementHasATest(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	tests := map[string]bool{}
	for _, dir := range []string{".", filepath.Join("..", "internal", "claims")} {
		names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
		for _, name := range names {
			tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, declaration := range tree.Decls {
				if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil {
					tests[function.Name.Name] = true
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^//\t([A-Z]-\d+) +(\S+) +(\S.*)$`).FindAllStringSubmatch(string(doc), -1) {
		require.False(t, seen[line[1]], "%s stands there twice", line[1])
		seen[line[1]] = true
		require.True(t, strings.HasPrefix(line[2], "Test") && tests[line[2]], "%s: there is no test %s", line[1], line[2])
		for _, other := range regexp.MustCompile(`\bTest\w+`).FindAllString(line[3], -1) {
			require.True(t, tests[other], "%s: there is no test %s", line[1], other)
		}
	}
	for n := 1; n <= lastRequirement; n++ {
		require.True(t, seen[fmt.Sprintf("A-%d", n)], "A-%d has no line", n)
	}
}
