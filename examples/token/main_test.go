package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// demo starts examples/as with a broker of its own, and returns the file that says how to reach them.
func demo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "as")
	said, err := exec.Command("go", "build", "-o", program, "../as").CombinedOutput()
	require.NoError(t, err, string(said))
	command := exec.Command(program, "-demo", dir)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		require.NoError(t, command.Process.Kill())
		_ = command.Wait() // it was killed
	})
	file := filepath.Join(dir, "demo.json")
	require.Eventually(t, func() bool {
		_, err := os.Stat(file)
		return err == nil
	}, time.Minute, 5*time.Millisecond)
	return file
}

func token(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, args, &out, io.Discard)
	return out.String(), err
}

// TestRun: what the token allows comes back in either version of MQTT, and the rest is refused.
func TestRun(t *testing.T) {
	file := demo(t)
	for name, version := range map[string][]string{"v5": nil, "v3": {"-v3"}} {
		t.Run(name, func(t *testing.T) {
			out, err := token(t, append(version, "-demo", file, "demo/device1/state", "open")...)
			require.NoError(t, err)
			require.Equal(t, "open\n", out)
			_, err = token(t, append(version, "-demo", file, "elsewhere", "open")...)
			require.ErrorContains(t, err, map[string]string{"v5": "not authorized", "v3": "not allowed"}[name])
			_, err = token(t, append(version, "-demo", file, "-id", "stranger", "demo/device1/state", "open")...)
			require.ErrorContains(t, err, `no client "stranger"`)
		})
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{
		{}, {"topic", "text"}, {"-demo", "d", "topic"}, {"-demo", "d", "-as", "https://as/token", "topic", "text"}, {"-novel"},
		{"-as", "https://as/token", "-id", "x", "topic", "text"},
	} {
		_, err := token(t, args...)
		require.ErrorIs(t, err, errUsage, "%q", args)
	}
	_, err := token(t, "-demo", filepath.Join(t.TempDir(), "none"), "topic", "text")
	require.ErrorIs(t, err, os.ErrNotExist)
}
