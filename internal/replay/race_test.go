//go:build race

package replay

// fewer is by how many events the small orders are shorter, and quicker is the part of the long runs, where the race
// detector makes each step take ten times as long.
const (
	fewer   = 1
	quicker = 10
)
