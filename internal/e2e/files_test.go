package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pollInterval is how often a state that announces no event is looked at.
const pollInterval = 2 * time.Millisecond

// tempDir is a directory that goes with the test. Unlike testing's own it may be written to by a library whose
// goroutines outlive the client for a moment.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// storedFiles is the number of messages below dir, none if there is no dir.
func storedFiles(t testing.TB, dir string) int {
	t.Helper()
	if dir == "" {
		return 0
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // it was delivered while we looked
		}
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".msg" {
			n++
		}
		return err
	})
	require.NoError(t, err)
	return n
}
