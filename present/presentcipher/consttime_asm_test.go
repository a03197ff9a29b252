package presentcipher

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAssemblyAddressesArePublic follows what can be secret through the
// assembly: anything loaded from memory but the function's arguments, and
// whatever comes out of a vector or mask register. None of it may reach an
// address, the mask of a load or store, or a conditional jump.
func TestAssemblyAddressesArePublic(t *testing.T) {
	for _, name := range []string{"avx2_amd64.s", "avx512_amd64.s"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		functions, loads, findings := followSecrets(string(text), step)
		require.Empty(t, findings, name)
		require.Equal(t, strings.Count("\n"+string(text), "\nTEXT "), functions, name)
		require.Greater(t, functions, 5, name)
		require.Greater(t, loads, 50, "%s: too few memory operands were understood", name)
	}
}

func TestAssemblyCheckFindsLeaks(t *testing.T) {
	leaks := map[string]string{
		"table lookup":       "MOVQ v+8(FP), CX\nMOVQ (AX)(CX*8), DX",
		"loaded index":       "MOVQ (AX), CX\nANDQ $0xff, CX\nMOVB (BX)(CX*1), DX",
		"vector to index":    "VMOVQ X0, CX\nVMOVDQU (AX)(CX*1), X1",
		"branch on data":     "MOVQ (AX), CX\nTESTQ CX, CX\nJNE done\ndone:",
		"mask from data":     "MOVQ (AX), CX\nKMOVQ CX, K1\nVMOVDQU8 (BX), K1, Z0",
		"mask from vector":   "VPMOVB2M Z0, K1\nVMOVDQU8.Z (BX), K1, Z0",
		"gather":             "VPGATHERDD Y1, (AX)(Y2*4), Y3",
		"compared in memory": "CMPQ CX, (AX)\nJNE done\ndone:",
		"conditional move":   "MOVQ (AX), DX\nCMPQ DX, $3\nCMOVQLT AX, SI\nMOVQ (SI), DI",
		"vector to flags":    "VPTEST X0, X1\nJNE done\ndone:",
		"mask to flags":      "KORTESTQ K1, K1\nJNE done\ndone:",
		"masked by vector":   "VPMASKMOVD (AX), Y1, Y2",
		"jump to data":       "MOVQ (AX), CX\nJMP CX",
		"call":               "MOVQ (AX), CX\nCALL CX",
		"exchanged":          "MOVQ (AX), CX\nXCHGQ CX, DX\nMOVQ (DX), SI",
		"count of a loop":    "MOVQ (AX), CX\nJCXZQ done\ndone:",
		"in the next turn":   "XORL CX, CX\nturn:\nMOVQ (BX)(CX*8), DX\nMOVQ DX, CX\nDECQ SI\nJNE turn",
	}
	for name, code := range leaks {
		_, _, findings := followSecrets("TEXT ·f(SB), NOSPLIT, $0-8\n"+code+"\nRET\n", step)
		require.NotEmpty(t, findings, name)
	}
	_, _, findings := followSecrets("TEXT ·f(SB), NOSPLIT, $0-8\nMOVQ n+8(FP), CX\nturn:\nMOVQ (BX)(CX*8), DX\nXORQ DX, SI\nDECQ CX\nJNE turn\nRET\n", step)
	require.Empty(t, findings)
}

var (
	addressPart = regexp.MustCompile(`\(([A-Z][A-Z0-9]*)(?:\*\d+)?\)`)
	gpRegister  = regexp.MustCompile(`^([A-D]X|SI|DI|BP|R\d+)$`)
	maskOrGP    = regexp.MustCompile(`^([A-D]X|SI|DI|BP|R\d+|K\d)$`)
	vector      = regexp.MustCompile(`^[XYZ]\d+$`)
	secretArg   = regexp.MustCompile(`^v\+\d+\(FP\)$`)
	// understood are the instructions that step treats rightly. Among those on
	// vectors and masks, variableTime and toFlags are out of the question.
	understood   = regexp.MustCompile(`^(MOV[BWLQ]\w*|LEAQ|(ADD|SUB|AND|OR|XOR|SHR|SHL|INC|DEC|CMP|TEST|BSWAP|BZHI)[LQ]|CMOVQ\w\w|RET|[KV]\w+)$`)
	variableTime = regexp.MustCompile(`GATHER|SCATTER|DIV|SQRT|MASKMOV|COMPRESS|EXPAND`)
	toFlags      = regexp.MustCompile(`^(K(OR)?TEST|V(P?TEST|U?COMI))`)
	labelName    = regexp.MustCompile(`^[a-z]\w*$`)
)

// A secrecy is the registers that may hold a secret. "flags" is one of them.
type secrecy map[string]bool

// A stepper applies one line to the state, and says what is wrong with it and how
// many operands in memory it has.
type stepper func(line string, at *secrecy, labels map[string]secrecy) (finding string, memory int)

// followSecrets walks each function until nothing changes, joining at labels.
func followSecrets(text string, step stepper) (functions, loads int, findings []string) {
	var code []string
	end := func() {
		if len(code) == 0 {
			return
		}
		functions++
		labels := map[string]secrecy{}
		for before := -1; ; {
			at := secrecy{}
			findings, loads = findings[:0:0], 0
			var total int
			for _, line := range code {
				found, memory := step(line, &at, labels)
				loads += memory
				if found != "" {
					findings = append(findings, fmt.Sprintf("%s: %s", strings.Join(strings.Fields(line), " "), found))
				}
			}
			for _, s := range labels {
				total += len(s)
			}
			if total == before {
				return
			}
			before = total
		}
	}
	var all []string
	var count int
	for _, line := range append(strings.Split(text, "\n"), "TEXT") {
		line = strings.TrimSpace(strings.Split(line, "//")[0])
		if strings.HasPrefix(line, "TEXT") {
			end()
			all, count, code = append(all, findings...), count+loads, nil
			findings, loads = nil, 0
			continue
		}
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "DATA") && !strings.HasPrefix(line, "GLOBL") {
			code = append(code, line)
		}
	}
	return functions, count, all
}

// step is the stepper of amd64.
func step(line string, at *secrecy, labels map[string]secrecy) (finding string, memory int) {
	if label, ok := strings.CutSuffix(line, ":"); ok {
		join(labels, label, *at)
		*at = secrecy{}
		for r := range labels[label] {
			(*at)[r] = true
		}
		return "", 0
	}
	op, rest, _ := strings.Cut(line, " ")
	op, _, _ = strings.Cut(op, ".")
	args := strings.Split(strings.ReplaceAll(rest, " ", ""), ",")
	if strings.HasPrefix(op, "J") {
		if op == "JCXZQ" || op == "JCXZL" || !labelName.MatchString(args[0]) {
			return "not understood", 0
		}
		join(labels, args[0], *at)
		if op == "JMP" {
			*at = secrecy{}
		} else if (*at)["flags"] {
			finding = "a secret decides a jump"
		}
		return finding, 0
	}
	if !understood.MatchString(op) || variableTime.MatchString(op) || toFlags.MatchString(op) {
		return "not understood, or not constant time", 0
	}
	compares := strings.HasPrefix(op, "CMP") || strings.HasPrefix(op, "TEST")
	secret, touches := strings.HasPrefix(op, "CMOV") && (*at)["flags"], false
	for i, arg := range args {
		isMemory := strings.HasSuffix(arg, ")") && !strings.HasSuffix(arg, "(SB)")
		for _, part := range addressPart.FindAllStringSubmatch(arg, -1) {
			if gpRegister.MatchString(part[1]) && (*at)[part[1]] {
				finding = "a secret is in an address"
			}
		}
		switch {
		case isMemory:
			memory, touches = memory+1, true
			if (i < len(args)-1 || compares) && (!strings.HasSuffix(arg, "(FP)") || secretArg.MatchString(arg)) && op != "LEAQ" {
				secret = true
			}
		case vector.MatchString(arg), maskOrGP.MatchString(arg) && (*at)[arg]:
			if i < len(args)-1 || !overwrites(op) {
				secret = true
			}
		}
	}
	for _, arg := range args {
		if touches && strings.HasPrefix(arg, "K") && (*at)[arg] && !strings.HasPrefix(op, "K") {
			finding = "a secret is the mask of a memory access"
		}
	}
	target := args[len(args)-1]
	if compares {
		target = "flags"
	}
	if strings.HasPrefix(op, "XOR") && len(args) == 2 && args[0] == args[1] {
		secret = false
	}
	if maskOrGP.MatchString(target) || target == "flags" {
		set(*at, target, secret)
		if !strings.HasPrefix(op, "MOV") && !strings.HasPrefix(op, "CMOV") && !strings.HasPrefix(op, "K") && op != "LEAQ" {
			set(*at, "flags", secret)
		}
	}
	return finding, memory
}

// overwrites is whether the last operand is written without having been read.
func overwrites(op string) bool {
	for _, prefix := range []string{"MOV", "LEA", "BZHI", "KMOV", "KSHIFT", "VMOV", "VPMOV", "VPEXTR", "VPSHUFBITQMB"} {
		if strings.HasPrefix(op, prefix) {
			return true
		}
	}
	return false
}

func set(s secrecy, r string, secret bool) {
	if secret {
		s[r] = true
	} else {
		delete(s, r)
	}
}

func join(labels map[string]secrecy, label string, s secrecy) {
	if labels[label] == nil {
		labels[label] = secrecy{}
	}
	for r := range s {
		labels[label][r] = true
	}
}
