//go:build !purego

package presentcipher

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"
)

// TestDetect takes from a processor that has everything one feature after the
// other: no path is chosen that lacks one.
func TestDetect(t *testing.T) {
	x := &cpu.X86
	found := *x
	defer func() { *x = found }()
	forAVX2 := []*bool{&x.HasAVX2, &x.HasBMI2}
	forAVX512 := []*bool{
		&x.HasAVX512F, &x.HasAVX512BW, &x.HasAVX512VL, &x.HasAVX512DQ, &x.HasAVX512VBMI, &x.HasAVX512VBMI2,
		&x.HasAVX512BITALG, &x.HasAVX512GFNI,
	}
	for _, has := range append(forAVX512, forAVX2...) {
		*has = true
	}
	require.Equal(t, avx512, detect())
	for _, has := range forAVX512 {
		*has = false
		require.Equal(t, avx2, detect())
		*has = true
	}
	for _, has := range forAVX2 {
		*has = false
		require.Equal(t, portable, detect())
		*has = true
	}
}
