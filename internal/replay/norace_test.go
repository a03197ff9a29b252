//go:build !race

package replay

const (
	fewer   = 0
	quicker = 1
)
