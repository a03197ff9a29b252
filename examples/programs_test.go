// Package examples_test holds what all programs below this directory promise.
package examples_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExitCodes calls each program for help, which succeeds and says something, and in
// ways that nobody may, which ends with 2 and a complaint, for scripts.
func TestExitCodes(t *testing.T) {
	sources, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	for _, source := range sources {
		name := filepath.Dir(source)
		t.Run(name, func(t *testing.T) {
			program := built(t, name)
			said, err := exec.Command(program, "-h").CombinedOutput()
			require.NoError(t, err, string(said))
			require.Contains(t, string(said), name)
			for _, args := range [][]string{{"-no-such-flag"}, {"one", "argument", "too", "many", "for", "it"}} {
				said, err := exec.Command(program, args...).CombinedOutput()
				var exit *exec.ExitError
				require.True(t, errors.As(err, &exit), "%v: %v", args, err)
				require.Equal(t, 2, exit.ExitCode(), "%v: %s", args, said)
				require.NotEmpty(t, said)
			}
		})
	}
}
