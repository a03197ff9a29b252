package policy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNothingIsHidden refuses local variables, parameters and results that take the name of a builtin or of a package
// that the file imports: further down, that name means something else than the reader thinks.
func TestNothingIsHidden(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.generated(t) {
			continue
		}
		for _, complaint := range hidden(f.parse(t, parser.SkipObjectResolution)) {
			t.Errorf("%s: %s", f.name, complaint)
		}
	}
}

// hidden lists the names that functions of a file hide, each once.
func hidden(tree *ast.File) []string {
	imported := map[string]bool{}
	for _, spec := range tree.Imports {
		imported[importName(spec)] = true
	}
	var complaints []string
	define := func(names ...*ast.Ident) {
		for _, name := range names {
			complaint := ""
			switch {
			case imported[name.Name]:
				complaint = fmt.Sprintf("%s hides an imported package", name.Name)
			case types.Universe.Lookup(name.Name) != nil:
				complaint = fmt.Sprintf("%s hides a builtin", name.Name)
			}
			if complaint != "" && !slices.Contains(complaints, complaint) {
				complaints = append(complaints, complaint)
			}
		}
	}
	defineFields := func(lists ...*ast.FieldList) {
		for _, list := range lists {
			for _, field := range list.List {
				define(field.Names...)
			}
		}
	}
	defineExprs := func(exprs ...ast.Expr) {
		for _, expr := range exprs {
			if name, ok := expr.(*ast.Ident); ok {
				define(name)
			}
		}
	}
	for _, decl := range tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		defineFields(orNone(fn.Recv), orNone(fn.Type.Params), orNone(fn.Type.Results))
		if fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				defineFields(orNone(n.Type.Params), orNone(n.Type.Results))
			case *ast.ValueSpec:
				define(n.Names...)
			case *ast.TypeSpec:
				define(n.Name)
			case *ast.AssignStmt:
				if n.Tok.String() == ":=" {
					defineExprs(n.Lhs...)
				}
			case *ast.RangeStmt:
				if n.Tok.String() == ":=" {
					defineExprs(n.Key, n.Value)
				}
			}
			return true
		})
	}
	return complaints
}

func orNone(list *ast.FieldList) *ast.FieldList {
	if list == nil {
		return new(ast.FieldList)
	}
	return list
}

var (
	majorVersion = regexp.MustCompile(`^v[0-9]+$`)
	decoration   = regexp.MustCompile(`^go-|[.-]go$|\.golang$|\.v[0-9]+$`)
)

// importName is what an import calls its package: the name it gives, else what the path is usually called.
func importName(spec *ast.ImportSpec) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	where, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	if dir, base := path.Split(where); majorVersion.MatchString(base) {
		where = strings.TrimSuffix(dir, "/")
	}
	return decoration.ReplaceAllString(path.Base(where), "")
}

func TestHiddenFindsWhatItLooksFor(t *testing.T) {
	f := file{"a/a.go", []byte(`package a
import (
	"math/rand/v2"
	"net/url"
	other "net/http"
	"github.com/go-jose/go-jose/v4"
	"github.com/veraison/go-cose"
)
type T struct{ len, url int }
func (rand T) M(new int) (err error) { return nil }
func F(fine int) {
	url, ok := 1, 2
	for max, http := range m { min = max }
	var other string
	type cap int
	g := func(jose int) (cose bool) { return true }
	url := 3
}
func (t T) close() { t.len = 1 }
`)}
	require.Equal(t, []string{
		"rand hides an imported package",
		"new hides a builtin",
		"url hides an imported package",
		"max hides a builtin",
		"other hides an imported package",
		"cap hides a builtin",
		"jose hides an imported package",
		"cose hides an imported package",
	}, hidden(f.parse(t, parser.SkipObjectResolution)))
}
