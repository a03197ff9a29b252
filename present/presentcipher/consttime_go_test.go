package presentcipher

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

// otherFiles work on neither keys nor messages, or have no code. In all others
// secrets are uint64 and byte, while lengths and positions are int.
var otherFiles = []string{
	"alias.go", "avx2_amd64.go", "avx512_amd64.go", "doc.go", "neon_arm64.go", "redact.go", "sealer.go", "sealerkey.go",
}

// verdicts are the comparisons of data there have to be: whether the tag is right.
var verdicts = []string{
	"tag^binary.LittleEndian.Uint64(ciphertext[n:]) != 0",
	"subtle.ConstantTimeCompare(want[:], tag) != 1",
}

// TestGoAddressesArePublic holds the portable path to a rule that keeps
// secrets out of addresses, branches and instructions that take their time:
// every index is an int, nothing of another type is converted to an int, compared,
// counted to, multiplied, divided by or shifted by.
func TestGoAddressesArePublic(t *testing.T) {
	for _, tags := range [][]string{nil, {"purego"}} {
		ctx := build.Default
		ctx.BuildTags = tags
		pkg, err := ctx.ImportDir(".", 0)
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
			if !slices.Contains(otherFiles, fset.Position(f.Pos()).Filename) {
				checked++
				require.Empty(t, dataDependence(fset, info, f))
			}
		}
		require.GreaterOrEqual(t, checked, 10)
	}
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
		"range":               "for range w { s[0]++ }; return 0",
		"case":                "switch { case w == 1: return 1 }; return 0",
		"compared before":     "b := w == 1; if b { return 1 }; return 0",
		"arrays":              "if [8]byte(data) == [8]byte(s[:]) { return 1 }; return 0",
		"strings":             "if string(data) == string(s[:]) { return 1 }; return 0",
		"early exit":          "if bytes.Equal(data, s[:]) { return 1 }; return 0",
		"early exit before":   "b := bytes.Equal(data, s[:]); if b { return 1 }; return 0",
		"comparison function": "if bytes.Compare(data, s[:]) == 0 { return 1 }; return 0",
		"product":             "return byte(w * 15)",
		"quotient":            "return byte(1000 / w)",
		"remainder":           "w %= 5; return byte(w)",
		"shift":               "return data[0] << w",
		"shift by converted":  "return data[0] << uint(w)",
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "leak.go", "package p\nimport \"bytes\"\nfunc f(s *[256]byte, data []byte, w uint64) byte {"+body+"}", 0)
		require.NoError(t, err)
		require.NotEmpty(t, dataDependence(fset, typesOf(fset, []*ast.File{f}), f), name)
	}
}

// typesOf needs no other package: what one returns has then no type, and none
// is an int.
func typesOf(fset *token.FileSet, files []*ast.File) *types.Info {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
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
	is := func(e ast.Expr, kinds ...types.BasicKind) bool {
		tv := info.Types[e]
		if tv.Value != nil {
			return true
		}
		b, ok := tv.Type.(*types.Basic)
		return ok && slices.Contains(kinds, b.Kind())
	}
	index := func(e ast.Expr) {
		if e != nil && !is(e, types.Int) {
			report(e, "an index that is no int")
		}
	}
	operation := func(n ast.Node, op token.Token, x, y ast.Expr) {
		switch op {
		case token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
			if !isPublic(info, x) || !isPublic(info, y) {
				report(n, "data is compared")
			}
		case token.MUL, token.QUO, token.REM, token.MUL_ASSIGN, token.QUO_ASSIGN, token.REM_ASSIGN:
			if !is(x, types.Int) || !is(y, types.Int) {
				report(n, "data is multiplied or divided")
			}
		case token.SHL, token.SHR, token.SHL_ASSIGN, token.SHR_ASSIGN:
			if !is(y, types.Int, types.Uint) {
				report(n, "data says how far to shift")
			}
		}
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
		case *ast.BinaryExpr:
			operation(n, n.Op, n.X, n.Y)
		case *ast.AssignStmt:
			operation(n, n.Tok, n.Lhs[0], n.Rhs[0])
		case *ast.CallExpr:
			fun := info.Types[n.Fun]
			if fun.IsType() && isCount(fun.Type) && !is(n.Args[0], types.Int, types.Uint) {
				report(n, "data becomes a number that counts")
			}
		case *ast.IfStmt:
			for _, e := range foreign(info, n.Cond) {
				report(e, "a condition from another package")
			}
		case *ast.RangeStmt:
			if b, ok := info.Types[n.X].Type.(*types.Basic); ok && !is(n.X, types.Int) {
				report(n.X, "a range over "+b.Name())
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && !isPublic(info, n.Tag) {
				report(n.Tag, "data is compared")
			}
		}
		return true
	})
	return findings
}

func isCount(t types.Type) bool {
	return types.Identical(t, types.Typ[types.Int]) || types.Identical(t, types.Typ[types.Uint])
}

// isPublic is whether a value of e's type is no data: a constant, an int, a
// path, or a pointer.
func isPublic(info *types.Info, e ast.Expr) bool {
	tv := info.Types[e]
	if tv.Value != nil || tv.IsNil() {
		return true
	}
	switch t := tv.Type.(type) {
	case *types.Basic:
		return t.Kind() == types.Int
	case *types.Named:
		return t.Obj().Name() == "path"
	case *types.Pointer:
		return true
	}
	return false
}

// foreign are the parts of a condition that come out of another package's
// function, directly or through a variable. Comparisons are looked at elsewhere.
func foreign(info *types.Info, cond ast.Expr) (found []ast.Expr) {
	ast.Inspect(cond, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			return n.Op == token.LAND || n.Op == token.LOR
		case *ast.CallExpr, *ast.Ident:
			e := n.(ast.Expr)
			if b, ok := info.TypeOf(e).(*types.Basic); !ok || b.Info()&types.IsBoolean == 0 {
				found = append(found, e)
			}
			return false
		}
		return true
	})
	return found
}
