package policy

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// root is the module's directory, seen from this package's.
const root = "../.."

// modulePath is what go.mod calls the module.
const modulePath = "github.com/mqttsec/mqttsec"

// A file is one text file of the module.
type file struct {
	name string // slash-separated, relative to the module
	text []byte
}

func (f file) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// generated reports whether a program wrote the Go file.
func (f file) generated(t *testing.T) bool {
	return ast.IsGenerated(f.parse(t, parser.PackageClauseOnly|parser.ParseComments))
}

func (f file) parse(t *testing.T, mode parser.Mode) *ast.File {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), f.name, f.text, mode)
	require.NoError(t, err)
	return tree
}

// files reads every text file of the module whose name keep accepts. What git
// keeps for itself and what is not text is left out.
func files(t *testing.T, keep func(name string) bool) []file {
	t.Helper()
	var found []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" { // a file where the work tree is a linked one
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if rel = filepath.ToSlash(rel); !keep(rel) {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if utf8.Valid(text) && !bytes.ContainsRune(text, 0) {
			found = append(found, file{rel, text})
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, found, "no file was looked at, so nothing was checked")
	return found
}

// goFiles are the Go files that the go tool would look at, and those of
// directories such as _asm, which it would not.
func goFiles(t *testing.T) []file {
	t.Helper()
	return files(t, func(name string) bool {
		return path.Ext(name) == ".go" && !strings.Contains("/"+name, "/testdata/")
	})
}

// everything accepts each file of the module.
func everything(string) bool { return true }
