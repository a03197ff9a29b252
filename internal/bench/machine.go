package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"github.com/mqttsec/mqttsec/present/presentcipher"
)

// Machine says in one line what is measured on: the processor's name, how many of them, the platform, Go, and the
// instructions that package present uses.
var Machine = sync.OnceValue(func() string {
	return fmt.Sprintf("%s, %d processors, %s/%s, %s, present takes %s",
		processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), presentTakes())
})

// processor is the name that the maker gave it, as far as the system tells.
func processor() string {
	switch runtime.GOOS {
	case "linux":
		text, err := os.ReadFile("/proc/cpuinfo")
		if err != nil {
			break
		}
		for _, field := range []string{"model name", "Model", "CPU part"} {
			for line := range strings.Lines(string(text)) {
				if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == field {
					return strings.TrimSpace(value)
				}
			}
		}
	case "darwin":
		if text, err := exec.Command("sysctl", "-n", "machdep.cpu.brand_string").Output(); err == nil {
			return strings.TrimSpace(string(text))
		}
	case "windows":
		if name := os.Getenv("PROCESSOR_IDENTIFIER"); name != "" {
			return name
		}
	}
	return "unnamed processor"
}

// presentTakes is the path through package presentcipher that this process takes.
func presentTakes() string {
	a, err := presentcipher.NewAEAD([presentcipher.KeySize]byte{})
	if err != nil {
		return err.Error()
	}
	name := fmt.Sprint(a)
	_, path, ok := strings.Cut(name, "(")
	if !ok {
		return name
	}
	return strings.TrimSuffix(path, ")")
}
