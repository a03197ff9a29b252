package policy

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPayloadSchemesHaveOneFace compares what aesmsg and present export: a program changes
// from one to the other by changing the import. The same names, types, signatures, methods
// and fields are in both, and what one documents the other does too.
func TestPayloadSchemesHaveOneFace(t *testing.T) {
	all := goFiles(t)
	one, other := face(t, all, "aesmsg"), face(t, all, "present")
	require.Greater(t, len(one), 20, "that is not all of aesmsg")
	require.Equal(t, one, other)
	for name := range one {
		require.NotContains(t, name, undocumentedMark)
	}
}

// undocumentedMark is behind a name of whose meaning no comment speaks.
const undocumentedMark = " (undocumented)"

// face is what the package in dir exports: each name, with its type or signature.
func face(t *testing.T, all []file, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(name, typ string, docs ...*ast.CommentGroup) {
		simple, documented := name[strings.LastIndex(name, ".")+1:], false
		for _, doc := range docs {
			documented = documented || strings.Contains(doc.Text(), simple)
		}
		if !documented {
			name += undocumentedMark
		}
		found[name] = typ
	}
	for _, f := range all {
		if path.Dir(f.name) != dir || f.isTest() {
			continue
		}
		for _, decl := range f.parse(t, parser.ParseComments|parser.SkipObjectResolution).Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				name := decl.Name.Name
				if decl.Recv != nil {
					name = receiverName(decl.Recv.List[0].Type) + "." + name
				}
				if decl.Name.IsExported() {
					add(name, text(t, decl.Type), decl.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					faceOf(t, decl, spec, add)
				}
			}
		}
	}
	return found
}

// faceOf adds the names of one declaration. The values of constants and variables are what
// packages may differ in.
func faceOf(t *testing.T, decl *ast.GenDecl, spec ast.Spec, add func(name, typ string, docs ...*ast.CommentGroup)) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() {
				add(name.Name, decl.Tok.String(), spec.Doc, spec.Comment, decl.Doc)
			}
		}
	case *ast.TypeSpec:
		fields, isStruct := spec.Type.(*ast.StructType)
		switch {
		case !spec.Name.IsExported():
		case !isStruct:
			add(spec.Name.Name, text(t, spec.Type), spec.Doc, decl.Doc)
		default:
			add(spec.Name.Name, "struct", spec.Doc, decl.Doc)
			for _, field := range fields.Fields.List {
				for _, name := range field.Names {
					if name.IsExported() {
						add(spec.Name.Name+"."+name.Name, text(t, field.Type), field.Doc, field.Comment)
					}
				}
			}
		}
	}
}

func text(t *testing.T, node ast.Node) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, printer.Fprint(&b, token.NewFileSet(), node))
	return b.String()
}

func TestFaceFindsWhatItLooksFor(t *testing.T) {
	all := []file{
		{"a/a.go", []byte(`package a
// New is.
func New(cfg Config) (*T, error) { return nil, nil }
// T is.
type T struct{ hidden int }
// M is.
func (*T) M(b []byte) int { return 0 }
func (T) m() {}
// A Config is.
type Config struct {
	Bare int
	// Said says.
	Said func(Key) error
}
// Key is.
type Key = other.Key
// A and B are.
const ( A = 1; B = 2; C = 3 )
`)},
		{"a/a_test.go", []byte("package a\nfunc Not() {}\n")},
		{"b/b.go", []byte("package b\nfunc Not() {}\n")},
	}
	require.Equal(t, map[string]string{
		"New": "func(cfg Config) (*T, error)", "T": "struct", "T.M": "func(b []byte) int",
		"Config": "struct", "Config.Bare" + undocumentedMark: "int", "Config.Said": "func(Key) error",
		"Key": "other.Key", "A": "const", "B": "const", "C" + undocumentedMark: "const",
	}, face(t, all, "a"))
}
