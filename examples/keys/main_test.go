package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"rsc.io/qr"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// keys runs the command with a key on standard input.
func keys(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, complaints bytes.Buffer
	err = run(args, strings.NewReader(stdin), &out, &complaints)
	return out.String(), complaints.String(), err
}

func parse(t *testing.T, text string) (key aesmsg.Key) {
	t.Helper()
	require.NoError(t, key.UnmarshalText([]byte(text)))
	return key
}

func TestNewKeysDiffer(t *testing.T) {
	first, _, err := keys(t, "", "new", "site/#")
	require.NoError(t, err)
	second, _, err := keys(t, "", "new", "site/#")
	require.NoError(t, err)
	require.Equal(t, "site/#", parse(t, first).Filter())
	require.False(t, parse(t, first).Equal(parse(t, second)))
}

func TestSubIsTheBranchOfTheKey(t *testing.T) {
	text, _, err := keys(t, "", "new", "site/#")
	require.NoError(t, err)
	branch, _, err := keys(t, text, "sub", "site/7/#")
	require.NoError(t, err)
	want, err := parse(t, text).Sub("site/7/#")
	require.NoError(t, err)
	require.True(t, want.Equal(parse(t, branch)))

	_, _, err = keys(t, text, "sub", "elsewhere/#")
	require.ErrorIs(t, err, aesmsg.ErrInvalidKey)
}

func TestShowReadsAFileAndStandardInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "site.key")
	out, _, err := keys(t, "", "new", "-out", file, "site/#")
	require.NoError(t, err)
	require.Empty(t, out, "the key went to the file")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	fromFile, _, err := keys(t, "", "show", "-in", file)
	require.NoError(t, err)
	require.Equal(t, "filter: site/#\n"+string(text), fromFile)
	fromInput, _, err := keys(t, string(text), "show")
	require.NoError(t, err)
	require.Equal(t, fromFile, fromInput)

	_, _, err = keys(t, "", "new", "-out", file, "site/#")
	require.ErrorIs(t, err, os.ErrExist, "a key must not be overwritten")
}

// TestQRCode reads the picture back, module by module.
func TestQRCode(t *testing.T) {
	text, _, err := keys(t, "", "new", "site/#")
	require.NoError(t, err)
	shown, _, err := keys(t, text, "show", "-qr")
	require.NoError(t, err)
	require.Contains(t, shown, text, "the text stands beside the code")

	code, err := qr.Encode(strings.ToUpper(strings.TrimSpace(text)), qr.M)
	require.NoError(t, err)
	rows := strings.Split(strings.TrimSpace(shown), "\n")[2:]
	require.Len(t, rows, code.Size+8)
	for y, row := range rows {
		row = strings.TrimSuffix(strings.TrimPrefix(row, whiteOnBlack), reset)
		modules := []rune(row)
		require.Len(t, modules, 2*(code.Size+8))
		for x := range code.Size + 8 {
			inside := x >= 4 && y >= 4 && x < code.Size+4 && y < code.Size+4
			black := inside && code.Black(x-4, y-4)
			require.Equal(t, black, modules[2*x] == ' ', "module %d, %d", x, y)
			require.Equal(t, modules[2*x], modules[2*x+1])
		}
	}
	require.True(t, parse(t, strings.ToUpper(text)).Equal(parse(t, text)), "what the code says is the key")
}

func TestWrongUsage(t *testing.T) {
	text, _, err := keys(t, "", "new", "site/#")
	require.NoError(t, err)
	secret := strings.TrimSpace(text)
	for name, args := range map[string][]string{
		"no command":              {},
		"unknown command":         {"make", "site/#"},
		"no filter":               {"new"},
		"two filters":             {"new", "site/#", "home/#"},
		"option after the filter": {"new", "site/#", "-qr"},
		"unknown option":          {"new", "-quiet", "site/#"},
		"new with a key":          {"new", "-in", "site.key", "site/#"},
		"show to a file":          {"show", "-out", "site.key"},
		"key as argument":         {"show", secret},
		"key before the filter":   {"sub", "site/7/#", secret},
	} {
		t.Run(name, func(t *testing.T) {
			out, complaint, err := keys(t, "", args...)
			require.ErrorIs(t, err, errUsage)
			require.Empty(t, out)
			require.Contains(t, complaint, "usage:")
			require.NotContains(t, complaint, secret)
		})
	}
}

func TestUnfitInput(t *testing.T) {
	for name, args := range map[string][]string{
		"invalid filter": {"new", "site/#/x"},
		"empty key":      {"show"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := keys(t, "", args...)
			require.ErrorIs(t, err, aesmsg.ErrInvalidKey)
			require.Empty(t, out)
		})
	}
	_, _, err := keys(t, "", "show", "-in", filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"new", "-h"}} {
		_, help, err := keys(t, "", args...)
		require.ErrorIs(t, err, flag.ErrHelp)
		require.Contains(t, help, "keys sub")
		require.Contains(t, help, "-qr")
	}
}
