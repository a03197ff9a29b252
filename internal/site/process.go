package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// programs of this module that a site runs.
var programs = []string{"github.com/mqttsec/mqttsec/examples/as", "github.com/mqttsec/mqttsec/examples/gateway"}

// build makes programs in a directory. Outside a clone of the module it cannot.
func build(ctx context.Context, dir string, programs ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, programs...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("site: building: %w\n%s", err, out)
	}
	return nil
}

// Process is a program that can be killed at any point and started again. It is safe for concurrent use.
type Process struct {
	name      string
	args      []string
	env       []string // beside that of this process
	addresses []string // accept connections once it is ready

	mu      sync.Mutex
	running *os.Process   // nil while it is not
	ended   chan struct{} // closed when it has ended
	log     tail
}

// Start starts the program and returns when it can be reached.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return fmt.Errorf("site: %s runs already", p.name)
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stderr = &p.log
	cmd.Env = append(os.Environ(), p.env...)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.running, p.ended = cmd.Process, ended
	go func() {
		_ = cmd.Wait() // says what ended it, which whoever ended it knows, and else the log
		close(ended)
	}()
	for _, address := range p.addresses {
		if err := p.await(ctx, address); err != nil {
			return errors.Join(fmt.Errorf("site: %s did not start: %w\n%s", p.name, err, p.log.String()), p.end(syscall.SIGKILL))
		}
	}
	return nil
}

// await returns when the address accepts connections.
func (p *Process) await(ctx context.Context, address string) error {
	const pause = 10 * time.Millisecond
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// Kill ends the program without warning (SIGKILL).
func (p *Process) Kill() error { return p.signalled(syscall.SIGKILL) }

// Stop ends it in the orderly way.
func (p *Process) Stop() error { return p.signalled(syscall.SIGTERM) }

// Signal sends a signal that does not end it.
func (p *Process) Signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return fmt.Errorf("site: %s does not run", p.name)
	}
	return p.running.Signal(s)
}

// PID is the number of the process, 0 while none runs.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.Pid
}

// Log is the end of what it has said, about the last 64 KiB, over all its lives.
func (p *Process) Log() string { return p.log.String() }

func (p *Process) signalled(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end(s)
}

// end returns when the program is gone. p.mu is held.
func (p *Process) end(s os.Signal) error {
	if p.running == nil {
		return nil
	}
	if err := p.running.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	p.running = nil
	return nil
}

// tail keeps the end of what is written.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const kept = 64 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*kept {
		t.b = append([]byte(nil), t.b[len(t.b)-kept:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
