//go:build !purego

package presentcipher

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"
)

func TestDetect(t *testing.T) {
	found := cpu.ARM64.HasASIMD
	defer func() { cpu.ARM64.HasASIMD = found }()
	cpu.ARM64.HasASIMD = true
	require.Equal(t, neon, detect())
	cpu.ARM64.HasASIMD = false
	require.Equal(t, portable, detect())
}
