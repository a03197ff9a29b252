package presentcipher

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNEONAddressesArePublic is TestAssemblyAddressesArePublic for arm64.
func TestNEONAddressesArePublic(t *testing.T) {
	text, err := os.ReadFile("neon_arm64.s")
	require.NoError(t, err)
	functions, loads, findings := followSecrets(expandMacros(string(text)), stepARM64)
	require.Empty(t, findings)
	require.Equal(t, strings.Count(string(text), "\nTEXT "), functions)
	require.Greater(t, loads, 50, "too few memory operands were understood")
}

func TestNEONCheckFindsLeaks(t *testing.T) {
	leaks := map[string]string{
		"table lookup":         "MOVD v+8(FP), R1\nMOVD (R0)(R1<<3), R2",
		"loaded index":         "MOVD (R0), R1\nAND $255, R1\nMOVD (R2)(R1), R3",
		"loaded base":          "MOVD.P 8(R0), R1\nVLD1 (R1), [V0.B16, V1.B16]",
		"stored to":            "MOVD (R0), R1\nVST1.P [V0.B16], 16(R1)",
		"step of a load":       "MOVD (R0), R1\nVLD1.P (R2)(R1), [V0.B16]",
		"vector to index":      "VMOV V0.D[0], R1\nMOVD (R0)(R1), R2",
		"vector to branch":     "FMOVD F0, R1\nCBZ R1, done\ndone:",
		"branch on data":       "MOVD (R0), R1\nCBNZ R1, done\ndone:",
		"branch on a bit":      "MOVD (R0), R1\nTBZ $3, R1, done\ndone:",
		"compared":             "MOVD (R0), R1\nCMP $3, R1\nBLT done\ndone:",
		"compared with":        "MOVD (R0), R1\nCMP R1, R2\nBGE done\ndone:",
		"counted down":         "MOVD (R0), R1\nSUBS $8, R1\nBGT done\ndone:",
		"into what was public": "MOVD (R0), R1\nADD R1, R2\nMOVD (R2), R3",
		"shifted by":           "MOVD (R0), R1\nMOVD $1, R2\nLSL R1, R2, R2\nMOVD (R2), R3",
		"shifted operand":      "MOVD (R0), R1\nORR R1<<4, R2, R2\nMOVD (R2), R3",
		"quotient":             "UDIV R1, R2, R3",
		"jump to data":         "MOVD (R0), R1\nB (R1)",
		"call":                 "BL ·g(SB)",
		"conditional move":     "MOVD (R0), R1\nCMP $3, R1\nCSEL LT, R1, R2, R3",
		"unknown word":         "WORD $0x4e208400",
		"in a macro":           "LOOKUP(R1)",
		"in the next turn":     "MOVD $0, R1\nturn:\nMOVD (R0)(R1), R2\nMOVD R2, R1\nSUB $1, R3\nCBNZ R3, turn",
	}
	const begin = "#define TWICE(r) \\\n\tADD r, r\n#define LOOKUP(r) \\\n\tMOVD (R0), r \\\n\tTWICE(r) \\\n\tMOVD (r), R9\n" +
		"TEXT ·f(SB), NOSPLIT, $0-8\n"
	for name, code := range leaks {
		_, _, findings := followSecrets(expandMacros(begin+code+"\nRET\n"), stepARM64)
		require.NotEmpty(t, findings, name)
	}
	_, loads, findings := followSecrets(expandMacros(begin+"MOVD n+8(FP), R1\nTWICE(R1)\nturn:\nVLD1.P 16(R0), [V0.B16]\n"+
		"MOVD (R0)(R1), R2\nEOR R2, R3, R3\nVMOV R3, V0.D[0]\nSUBS $1, R1\nBGT turn\nRET\n"), stepARM64)
	require.Empty(t, findings)
	require.Equal(t, 3, loads)
}

// expandMacros is what the assembler's preprocessor does with #define: parameters are
// replaced wherever they are whole names.
func expandMacros(text string) string {
	type macro struct{ parameters, lines []string }
	macros := map[string]macro{}
	head := regexp.MustCompile(`^#define (\w+)(?:\(([^)]*)\))?\s*(.*)$`)
	call := regexp.MustCompile(`^\s*([A-Z]\w*)(?:\((.*)\))?\s*$`)
	name := regexp.MustCompile(`\b\w+\b`)
	var out []string
	var expand func(line string)
	expand = func(line string) {
		m := call.FindStringSubmatch(line)
		if m == nil || macros[m[1]].lines == nil {
			out = append(out, line)
			return
		}
		values := map[string]string{}
		for i, arg := range strings.Split(m[2], ",") {
			if i < len(macros[m[1]].parameters) {
				values[macros[m[1]].parameters[i]] = strings.TrimSpace(arg)
			}
		}
		for _, l := range macros[m[1]].lines {
			expand(name.ReplaceAllStringFunc(l, func(s string) string {
				if v, ok := values[s]; ok {
					return v
				}
				return s
			}))
		}
	}
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", "\x00"), "\n") {
		m := head.FindStringSubmatch(line)
		if m == nil {
			expand(line)
			continue
		}
		var parameters []string
		for _, p := range strings.Split(m[2], ",") {
			parameters = append(parameters, strings.TrimSpace(p))
		}
		macros[m[1]] = macro{parameters, strings.Split(m[3], "\x00")}
	}
	return strings.Join(out, "\n")
}

var (
	armAddress  = regexp.MustCompile(`\((R\d+)`)
	armRegister = regexp.MustCompile(`^(R\d+)(<<\d+)?$`)
	armVector   = regexp.MustCompile(`^\[?[FV]\d+\b`)
	armOperand  = regexp.MustCompile(`\[[^\]]*,[^\]]*\]|[^,]+`)
	armJump     = regexp.MustCompile(`^(B|B(EQ|NE|LT|LE|GT|GE)|CBN?Z|TBN?Z)$`)
	armScalar   = regexp.MustCompile(`^(MOVD(\.P)?|ADD|SUBS?|AND|ORR|EOR|LSL|REV|CMP|RET)$`)
	// No instruction on vectors takes a time that depends on what is in them, among these.
	armVectors = regexp.MustCompile(`^(VLD1(\.P)?|VST1(\.P)?|FMOVD|V(MOV|MOVI|DUP|TBL|EOR|AND|ORR|BIT|BIF|CMTST|CNT|ADD|USHR|SHL|SLI|SRI|ZIP1|ZIP2|TRN1|TRN2))$`)
)

// stepARM64 is the stepper of arm64. Its vector registers all count as secret.
func stepARM64(line string, at *secrecy, labels map[string]secrecy) (finding string, memory int) {
	if label, ok := strings.CutSuffix(line, ":"); ok {
		join(labels, label, *at)
		*at = secrecy{}
		join(map[string]secrecy{"": *at}, "", labels[label])
		return "", 0
	}
	op, rest, _ := strings.Cut(line, " ")
	args := armOperand.FindAllString(strings.ReplaceAll(rest, " ", ""), -1)
	isSecret := func(arg string) bool {
		if m := armRegister.FindStringSubmatch(arg); m != nil {
			return (*at)[m[1]]
		}
		if strings.HasSuffix(arg, "(FP)") {
			return secretArg.MatchString(arg)
		}
		return armVector.MatchString(arg) || strings.Contains(arg, "(R")
	}
	if armJump.MatchString(op) {
		target := args[len(args)-1]
		if !labelName.MatchString(target) {
			return "not understood", 0
		}
		join(labels, target, *at)
		switch {
		case op == "B":
			*at = secrecy{}
		case len(args) == 1 && (*at)["flags"], len(args) > 1 && isSecret(args[len(args)-2]):
			finding = "a secret decides a jump"
		}
		return finding, 0
	}
	if !armScalar.MatchString(op) && !armVectors.MatchString(op) {
		return "not understood, or not constant time", 0
	}
	secret := false
	for i, arg := range args {
		for _, part := range armAddress.FindAllStringSubmatch(arg, -1) {
			memory++
			if (*at)[part[1]] {
				finding = "a secret is in an address"
			}
		}
		// With two operands the last is read too, but by what moves.
		if i < len(args)-1 || op == "CMP" || len(args) == 2 && !strings.Contains(op, "MOV") && op != "REV" && op != "VDUP" {
			secret = secret || isSecret(arg)
		}
	}
	if op == "CMP" || op == "SUBS" {
		set(*at, "flags", secret)
	}
	if len(args) > 0 && op != "CMP" && armRegister.MatchString(args[len(args)-1]) {
		set(*at, args[len(args)-1], secret)
	}
	return finding, memory
}
