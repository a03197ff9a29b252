package present

import (
	"bytes"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"go/types"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// cipherFiles are what works on keys and messages. Secrets there are uint64
// and byte, while lengths and positions are int.
var cipherFiles = []string{
	"aead.go", "cipher.go", "ctr.go", "lanes.go", "lightmac.go", "paths.go", "planes.go",
	"schedule.go", "single.go", "vector_amd64.go", "vector_other.go",
}

// verdicts are the comparisons of data there have to be: whether the tag is right.
var verdicts = []string{"tag^binary.LittleEndian.Uint64(ciphertext[n:]) != 0"}

// TestGoAddressesArePublic holds the portable path to a rule that keeps
// secrets out of addresses and branches: every index is an int, nothing of
// another type is converted to an int, no condition looks at another type.
func TestGoAddressesArePublic(t *testing.T) {
	pkg, err := build.ImportDir(".", 0)
	require.NoError(t, err)
	fset := token.NewFileSet()
	var files []*ast.File
	checked := 0
	for _, name := range pkg.GoFiles {
		f, err := parser.ParseFile(fset, name, nil, 0)
		require.NoError(t, err)
		files = append(files, f)
	}
	info := typesOf(fset, files)
	for _, f := range files {
		if slices.Contains(cipherFiles, fset.Position(f.Pos()).Filename) {
			checked++
			require.Empty(t, dataDependence(fset, info, f))
		}
	}
	require.Equal(t, len(cipherFiles)-1, checked, "of the two vector files, one is built")
}

func TestGoCheckFindsLeaks(t *testing.T) {
	for name, body := range map[string]string{
		"lookup by byte":      "return s[data[0]]",
		"lookup by converted": "return s[int(data[0])]",
		"converted before":    "i := int(w & 15); return s[i]",
		"slice":               "return s[w:][0]",
		"branch":              "if w == 0 { return 1 }; return 0",
		"switch":              "switch w { case 1: return 1 }; return 0",
		"loop":                "for w > 0 { w >>= 1 }; return 0",
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "leak.go", "package p\nfunc f(s *[256]byte, data []byte, w uint64) byte {"+body+"}", 0)
		require.NoError(t, err)
		require.NotEmpty(t, dataDependence(fset, typesOf(fset, []*ast.File{f}), f), name)
	}
}

// typesOf needs no other package: what one returns has then no type, and none
// is an int.
func typesOf(fset *token.FileSet, files []*ast.File) *types.Info {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: emptyPackages{}, Error: func(error) {}}
	_, _ = conf.Check("p", fset, files, info) // errors are about the imports
	return info
}

type emptyPackages struct{}

func (emptyPackages) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, path[bytes.LastIndexByte([]byte(path), '/')+1:])
	p.MarkComplete()
	return p, nil
}

func dataDependence(fset *token.FileSet, info *types.Info, f *ast.File) (findings []string) {
	report := func(n ast.Node, what string) {
		var text bytes.Buffer
		_ = printer.Fprint(&text, fset, n)
		if !slices.Contains(verdicts, text.String()) {
			findings = append(findings, fset.Position(n.Pos()).String()+": "+text.String()+": "+what)
		}
	}
	isInt := func(e ast.Expr) bool {
		tv := info.Types[e]
		return tv.Value != nil || types.Identical(tv.Type, types.Typ[types.Int])
	}
	index := func(e ast.Expr) {
		if e != nil && !isInt(e) {
			report(e, "an index that is no int")
		}
	}
	condition := func(e ast.Expr) {
		if e == nil {
			return
		}
		ast.Inspect(e, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && !info.Types[call.Fun].IsType() {
				return false // what it returns counts, and its own body is checked
			}
			if x, ok := n.(ast.Expr); ok && info.Types[x].Value == nil {
				b, ok := info.Types[x].Type.(*types.Basic)
				if ok && b.Info()&types.IsInteger != 0 && b.Kind() != types.Int && b.Kind() != types.Uintptr {
					report(e, "a condition on data")
					return false
				}
			}
			return true
		})
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IndexExpr:
			if !info.Types[n.X].IsType() {
				index(n.Index)
			}
		case *ast.SliceExpr:
			index(n.Low)
			index(n.High)
			index(n.Max)
		case *ast.CallExpr:
			fun := info.Types[n.Fun]
			if fun.IsType() && types.Identical(fun.Type, types.Typ[types.Int]) && !isInt(n.Args[0]) {
				report(n, "data becomes an int")
			}
		case *ast.IfStmt:
			condition(n.Cond)
		case *ast.ForStmt:
			condition(n.Cond)
		case *ast.SwitchStmt:
			condition(n.Tag)
		}
		return true
	})
	return findings
}
