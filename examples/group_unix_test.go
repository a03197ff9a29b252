//go:build unix

package examples_test

import (
	"os/exec"
	"syscall"
)

// group makes a process the first of a group.
func group() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// end sends a signal to a group.
func end(cmd *exec.Cmd, s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) } // it may have ended
