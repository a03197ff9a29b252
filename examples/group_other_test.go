//go:build !unix

package examples_test

import (
	"os/exec"
	"syscall"
)

func group() *syscall.SysProcAttr { return nil }

func end(cmd *exec.Cmd, _ syscall.Signal) { _ = cmd.Process.Kill() }
