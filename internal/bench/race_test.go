//go:build race

package bench

// racing tells that the race detector watches.
const racing = true
