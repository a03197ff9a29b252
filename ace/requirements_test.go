package ace

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

// TestEveryRequirementHasATest compares the table in the package documentation with the tests that there are.
func TestEveryRequirementHasATest(t *testing.T) {
	tests := map[string]bool{}
	for _, dir := range []string{".", filepath.Join("..", "internal", "pop"), filepath.Join("..", "internal", "aif")} {
		names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
		require.NotEmpty(t, names)
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
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^//\t([A-Z]-\d+) +(\S+) +(\S.*)$`).FindAllStringSubmatch(string(doc), -1) {
		require.False(t, seen[line[1]], "%s stands there twice", line[1])
		seen[line[1]] = true
		require.True(t, line[2] == "none" || tests[line[2]], "%s: there is no test %s", line[1], line[2])
		for _, other := range regexp.MustCompile(`\bTest\w+`).FindAllString(line[3], -1) {
			require.True(t, tests[other], "%s: there is no test %s", line[1], other)
		}
	}
	// Those of a client; the rest of Z, and all of A and E, are for the other two.
	for letter, last := range map[string]int{"C": 11, "S": 7, "T": 3, "M": 12, "R": 5, "V": 3} {
		for n := 1; n <= last; n++ {
			require.True(t, seen[fmt.Sprintf("%s-%d", letter, n)], "%s-%d has no line", letter, n)
		}
	}
	require.True(t, seen["Z-1"] && seen["Z-4"])
}
