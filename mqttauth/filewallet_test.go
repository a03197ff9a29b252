package mqttauth

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var walletKey = bytes.Repeat([]byte{7, 8}, 16)

func testTokens(t testing.TB, n int) (o OwnerToken, tokens []Token) {
	t.Helper()
	o, err := NewOwnerToken("site/#")
	require.NoError(t, err)
	for range n {
		tok, err := o.Auth1("site/7", time.Now().Add(time.Hour))
		require.NoError(t, err)
		tokens = append(tokens, tok)
	}
	return o, tokens
}

func requireTokens(t testing.TB, w Wallet, want ...Token) {
	t.Helper()
	got, err := w.Tokens()
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, want[i].Equal(got[i]))
	}
}

func TestWalletsKeepTokens(t *testing.T) {
	o, tokens := testTokens(t, 3)
	path := filepath.Join(t.TempDir(), "wallet")
	file, err := NewFileWallet(path, walletKey)
	require.NoError(t, err)
	for name, w := range map[string]Wallet{"memory": NewWallet(), "file": file} {
		t.Run(name, func(t *testing.T) {
			for _, tok := range append(tokens, tokens[0], Token{}) {
				require.NoError(t, w.Add(tok))
			}
			requireTokens(t, w, tokens...)
			require.NoError(t, w.Remove(tokens[1].ID()))
			require.NoError(t, w.Remove(tokens[1].ID()))
			requireTokens(t, w, tokens[0], tokens[2])
		})
	}
	require.NoError(t, file.AddOwner(o))
	branch, err := o.Delegate("site/7/#")
	require.NoError(t, err)
	require.NoError(t, file.AddOwner(branch))
	next, err := o.Next()
	require.NoError(t, err)
	require.NoError(t, file.AddOwner(next))
	require.Error(t, file.AddOwner(OwnerToken{}))

	again, err := NewFileWallet(path, walletKey)
	require.NoError(t, err)
	requireTokens(t, again, tokens[0], tokens[2])
	owners, err := again.Owners()
	require.NoError(t, err)
	require.Len(t, owners, 2)
	require.True(t, owners[0].Equal(branch))
	require.True(t, owners[1].Equal(next))
	require.NoError(t, again.RemoveOwner("site/#"))
	owners, err = again.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestWalletFileShowsNothing(t *testing.T) {
	_, tokens := testTokens(t, 1)
	path := filepath.Join(t.TempDir(), "wallet")
	w, err := NewFileWallet(path, walletKey)
	require.NoError(t, err)
	require.NoError(t, w.Add(tokens[0]))
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(file), "site")
	secrets, err := tokens[0].MarshalBinary()
	require.NoError(t, err)
	require.NotContains(t, string(file), string(secrets[len(secrets)-32:]))

	require.NoError(t, w.Remove(tokens[0].ID()))
	require.NoError(t, w.Add(tokens[0]))
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotEqual(t, file, again, "the same content under another key")
}

func TestWrongKeyIsToldFromADamagedFile(t *testing.T) {
	_, tokens := testTokens(t, 1)
	path := filepath.Join(t.TempDir(), "wallet")
	w, err := NewFileWallet(path, walletKey)
	require.NoError(t, err)
	require.NoError(t, w.Add(tokens[0]))
	_, err = NewFileWallet(path, bytes.Repeat([]byte{9}, 32))
	require.ErrorIs(t, err, ErrWalletKey)
	_, err = NewFileWallet(path, []byte("short"))
	require.Error(t, err)

	file, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		_, err := openWallet(walletKey, bad)
		require.Error(t, err, "octet %d", i)
		if i < len(walletMagic) || i >= len(walletMagic)+walletCheckSize {
			require.ErrorIs(t, err, ErrWallet)
		}
		_, err = openWallet(walletKey, file[:i])
		require.ErrorIs(t, err, ErrWallet)
	}
	require.NoError(t, os.WriteFile(path, make([]byte, maxWallet+1), 0o600))
	_, err = NewFileWallet(path, walletKey)
	require.ErrorIs(t, err, ErrWallet)
}

// TestCrashWhileWriting: what a crash leaves is the file before and a temporary one that nobody reads.
func TestCrashWhileWriting(t *testing.T) {
	_, tokens := testTokens(t, 2)
	path := filepath.Join(t.TempDir(), "wallet")
	w, err := NewFileWallet(path, walletKey)
	require.NoError(t, err)
	require.NoError(t, w.Add(tokens[0]))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, n := range []int{0, 1, walletHeader, len(whole) - 1} {
		require.NoError(t, os.WriteFile(path+".123.tmp", whole[:n], 0o600))
		again, err := NewFileWallet(path, walletKey)
		require.NoError(t, err)
		requireTokens(t, again, tokens[0])
	}
	// A directory in the file's place cannot be replaced: the wallet stays as it was, in memory too.
	blocked := filepath.Join(t.TempDir(), "wallet")
	b, err := NewFileWallet(blocked, walletKey)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(blocked, "x"), 0o700))
	require.Error(t, b.Add(tokens[1]))
	requireTokens(t, b)
}

func FuzzWalletRecords(f *testing.F) {
	o, tokens := testTokens(f, 1)
	path := filepath.Join(f.TempDir(), "wallet")
	w, err := NewFileWallet(path, walletKey)
	require.NoError(f, err)
	require.NoError(f, w.Add(tokens[0]))
	require.NoError(f, w.AddOwner(o))
	file, err := os.ReadFile(path)
	require.NoError(f, err)
	records, err := openWallet(walletKey, file)
	require.NoError(f, err)
	f.Add(records)
	f.Add(file)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = parseRecords(b)
		_, _ = openWallet(walletKey, b)
	})
}
