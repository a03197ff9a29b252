package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// both runs a test on either kind of store.
func both(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("memory", func(t *testing.T) { test(t, NewMemory()) })
	t.Run("file", func(t *testing.T) {
		s, err := OpenFile(filepath.Join(t.TempDir(), "state"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		test(t, s)
	})
}

func TestStore(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		require.NoError(t, s.Update(func(tx Tx) error {
			require.Nil(t, tx.Get("b", "1"))
			require.NoError(t, tx.Delete("b", "1"))
			for _, key := range []string{"2", "1", "3", "\x00", "\xff"} {
				require.NoError(t, tx.Put("b", key, []byte("v"+key)))
			}
			require.Error(t, tx.Put("b", "", []byte("x")))
			require.NoError(t, tx.Put("c", "1", []byte{}))
			require.NotNil(t, tx.Get("c", "1"), "an empty value is there")
			require.NoError(t, tx.Delete("b", "3"))
			require.Nil(t, tx.Get("b", "3"))
			return nil
		}))
		seen := func(until string) (keys []string) {
			require.NoError(t, s.View(func(tx Tx) error {
				tx.Ascend("b", func(key string, value []byte) bool {
					require.Equal(t, "v"+key, string(value))
					keys = append(keys, key)
					return key != until
				})
				return nil
			}))
			return keys
		}
		require.Equal(t, []string{"\x00", "1", "2", "\xff"}, seen(""))
		require.Equal(t, []string{"\x00", "1"}, seen("1"))
		require.NoError(t, s.View(func(tx Tx) error {
			tx.Ascend("nothing", func(string, []byte) bool { t.Error("a key in no bucket"); return false })
			require.ErrorIs(t, tx.Put("b", "1", nil), errReadOnly)
			require.ErrorIs(t, tx.Delete("b", "1"), errReadOnly)
			return nil
		}))
	})
}

// TestUpdateIsAllOrNothing: what a failing function has written is not there.
func TestUpdateIsAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		require.NoError(t, s.Update(func(tx Tx) error { return tx.Put("b", "kept", []byte("1")) }))
		failed := errors.New("failed")
		require.ErrorIs(t, s.Update(func(tx Tx) error {
			require.NoError(t, tx.Put("b", "new", []byte("2")))
			require.NoError(t, tx.Delete("b", "kept"))
			require.Equal(t, []byte("2"), tx.Get("b", "new"))
			return failed
		}), failed)
		require.NoError(t, s.View(func(tx Tx) error {
			require.Nil(t, tx.Get("b", "new"))
			require.Equal(t, []byte("1"), tx.Get("b", "kept"))
			return nil
		}))
	})
}

// TestConcurrentUpdates counts up from many goroutines; no step may get lost.
func TestConcurrentUpdates(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		var running sync.WaitGroup
		const each, goroutines = 5, 8
		for range goroutines {
			running.Go(func() {
				for range each {
					err := s.Update(func(tx Tx) error {
						n, _ := strconv.Atoi(string(tx.Get("b", "n"))) // nothing is 0
						return tx.Put("b", "n", []byte(strconv.Itoa(n+1)))
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		require.NoError(t, s.View(func(tx Tx) error {
			require.Equal(t, strconv.Itoa(each*goroutines), string(tx.Get("b", "n")))
			return nil
		}))
	})
}

func TestFileSurvivesReopening(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	s, err := OpenFile(name)
	require.NoError(t, err)
	require.NoError(t, s.Update(func(tx Tx) error { return tx.Put("b", "k", []byte("v")) }))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "others can read the file")
	}
	_, err = OpenFile(name)
	require.ErrorContains(t, err, "another process")
	require.NoError(t, s.Close())
	s, err = OpenFile(name)
	require.NoError(t, err)
	require.NoError(t, s.View(func(tx Tx) error {
		require.Equal(t, []byte("v"), tx.Get("b", "k"))
		return nil
	}))
	require.NoError(t, s.Close())
	_, err = OpenFile(filepath.Join(t.TempDir(), "no", "such", "directory"))
	require.ErrorContains(t, err, "store: ")
}
