package policy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocs wants a doc comment on every package and on every exported name
// outside tests. The comment of a function or type begins with its name, as
// the go tool expects. Fields and the methods of interfaces count where users
// of the module can see them.
func TestDocs(t *testing.T) {
	var all []file
	for _, f := range goFiles(t) {
		if !f.generated(t) {
			all = append(all, f)
		}
	}
	for _, complaint := range undocumented(t, all) {
		t.Error(complaint)
	}
}

// undocumented lists what lacks a comment in files.
func undocumented(t *testing.T, files []file) []string {
	var missing []string
	described := map[string]bool{} // by directory and package name
	for _, f := range files {
		tree := f.parse(t, parser.ParseComments|parser.SkipObjectResolution)
		pkg := path.Dir(f.name) + ": package " + strings.TrimSuffix(tree.Name.Name, "_test")
		described[pkg] = described[pkg] || tree.Doc != nil
		if f.isTest() {
			continue
		}
		d := docs{file: f.name, fields: visible(f.name)}
		d.read(tree)
		missing = append(missing, d.missing...)
	}
	for pkg, ok := range described {
		if !ok {
			missing = append(missing, pkg+" has no doc comment")
		}
	}
	slices.Sort(missing)
	return missing
}

// visible reports whether somebody outside the module can import the file's
// package.
func visible(name string) bool {
	for _, hidden := range []string{"internal/", "examples/", "_"} {
		if strings.HasPrefix(name, hidden) || strings.Contains(name, "/"+hidden) {
			return false
		}
	}
	return true
}

// docs collects the undocumented names of one file.
type docs struct {
	file    string
	fields  bool // fields and interface methods need comments as well
	missing []string
}

func (d *docs) complain(format string, args ...any) {
	d.missing = append(d.missing, d.file+": "+fmt.Sprintf(format, args...))
}

func (d *docs) read(tree *ast.File) {
	for _, decl := range tree.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			d.function(decl)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					d.typ(spec, decl)
				case *ast.ValueSpec:
					d.value(spec, decl)
				}
			}
		}
	}
}

func (d *docs) function(fn *ast.FuncDecl) {
	name := fn.Name.Name
	if fn.Recv != nil {
		receiver := receiverName(fn.Recv.List[0].Type)
		if !ast.IsExported(receiver) {
			return
		}
		name = receiver + "." + name
	}
	if fn.Name.IsExported() {
		d.comment("func "+name, fn.Name.Name, fn.Doc)
	}
}

func receiverName(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.StarExpr:
		return receiverName(expr.X)
	case *ast.IndexExpr:
		return receiverName(expr.X)
	case *ast.IndexListExpr:
		return receiverName(expr.X)
	case *ast.Ident:
		return expr.Name
	}
	return ""
}

// comment checks one that is to begin with name, or with an article and name.
func (d *docs) comment(what, name string, doc *ast.CommentGroup) {
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	switch {
	case len(words) == 0:
		d.complain("%s has no doc comment", what)
	case strings.TrimRight(words[0], ",.:;'s") != strings.TrimRight(name, "s"):
		d.complain("the doc comment of %s does not begin with its name", what)
	}
}

func (d *docs) typ(spec *ast.TypeSpec, decl *ast.GenDecl) {
	if !spec.Name.IsExported() {
		return
	}
	doc := spec.Doc
	if doc == nil {
		doc = decl.Doc
	}
	d.comment("type "+spec.Name.Name, spec.Name.Name, doc)
	if !d.fields {
		return
	}
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		d.members(spec.Name.Name, typ.Fields)
	case *ast.InterfaceType:
		d.members(spec.Name.Name, typ.Methods)
	}
}

// members checks fields. Those that follow a documented one without a blank
// line are not excused: each is a promise of its own.
func (d *docs) members(of string, list *ast.FieldList) {
	for _, field := range list.List {
		for _, name := range field.Names {
			if name.IsExported() && field.Doc == nil && field.Comment == nil {
				d.complain("%s.%s has no comment", of, name.Name)
			}
		}
	}
}

// value checks constants and variables: a comment on the group, above the
// name or behind it will do.
func (d *docs) value(spec *ast.ValueSpec, decl *ast.GenDecl) {
	if decl.Doc != nil || spec.Doc != nil || spec.Comment != nil {
		return
	}
	for _, name := range spec.Names {
		if name.IsExported() {
			d.complain("%s %s has no comment", decl.Tok, name.Name)
		}
	}
}

func TestDocsFindsWhatItLooksFor(t *testing.T) {
	missing := undocumented(t, []file{
		{"bare/bare.go", []byte(`package bare
func F() {}
// Does something.
func G() {}
// H is fine.
func H() {}
type t struct{}
func (t) Fine() {}
type T struct { A int; B int // of something
}
func (*T) M() {}
const C = 1
var (
	// V is fine.
	V int
	w, X int
)
`)},
		{"internal/in/in.go", []byte("// Package in is fine.\npackage in\n// A T is fine.\ntype T struct { A int }\n")},
		{"internal/in/in_test.go", []byte("package in\nfunc Test() {}\n")},
	})
	require.Equal(t, []string{
		"bare/bare.go: T.A has no comment",
		"bare/bare.go: const C has no comment",
		"bare/bare.go: func F has no doc comment",
		"bare/bare.go: func T.M has no doc comment",
		"bare/bare.go: the doc comment of func G does not begin with its name",
		"bare/bare.go: type T has no doc comment",
		"bare/bare.go: var X has no comment",
		"bare: package bare has no doc comment",
	}, missing)
}

// TestPackagesHaveExamples wants at least one example that runs for every
// package that users import.
func TestPackagesHaveExamples(t *testing.T) {
	runs := map[string]bool{}
	for _, f := range goFiles(t) {
		if !visible(f.name) || path.Dir(f.name) == "." {
			continue
		}
		dir := path.Dir(f.name)
		runs[dir] = runs[dir] || f.isTest() && hasExample(f.parse(t, parser.ParseComments|parser.SkipObjectResolution))
	}
	for dir, ok := range runs {
		if !ok {
			t.Errorf("%s: no Example with an Output", dir)
		}
	}
}

func hasExample(tree *ast.File) bool {
	for _, decl := range tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Example") {
			continue
		}
		if within(tree.Comments, fn.Body.Lbrace, fn.Body.Rbrace, "Output:", "Unordered output:") {
			return true
		}
	}
	return false
}

// within reports whether a comment between two positions starts with one of
// the given words.
func within(comments []*ast.CommentGroup, from, to token.Pos, words ...string) bool {
	return slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool {
		return from < c.Pos() && c.End() <= to && slices.ContainsFunc(words, func(word string) bool {
			return strings.HasPrefix(c.Text(), word)
		})
	})
}
