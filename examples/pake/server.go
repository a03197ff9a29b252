package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/pake"
)

// directory is what the server knows.
type directory struct {
	name   string
	users  map[string]*pake.Verifier
	decoys *pake.Decoys
	budget *pake.Budget
}

// serve is the server's side: one login on standard input and output, or one
// after the other on TCP until it is interrupted.
func serve(name, verifierFile, decoyFile, address string) error {
	d, err := openDirectory(name, verifierFile, decoyFile)
	if err != nil {
		return err
	}
	if address == "" {
		return d.report(standard{os.Stdin, os.Stdout}, "standard input")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintln(os.Stderr, "listening on", listener.Addr())
	slots := make(chan struct{}, maxLogins)
	for {
		slots <- struct{}{}
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { conn.Close(); <-slots }()
			if conn.SetDeadline(time.Now().Add(patience)) != nil {
				return
			}
			if err := d.report(conn, source(conn.RemoteAddr())); err != nil {
				fmt.Fprintln(os.Stderr, "pake:", err)
			}
		}()
	}
}

// source is where guesses are counted: the address for IPv4, and for IPv6 its
// /64, since whoever has one address there has them all.
func source(remote net.Addr) string {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return remote.String()
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	network, err := address.Prefix(64)
	if err != nil {
		return remote.String()
	}
	return network.String()
}

// report says who logged in. The client hears nothing of what went wrong, here
// is where to look.
func (d *directory) report(conn io.ReadWriter, source string) error {
	user, key, err := d.login(conn, source)
	if err != nil {
		return fmt.Errorf("from %s: %w", source, err)
	}
	fmt.Fprintf(os.Stderr, "%q logged in from %s, key %s\n", user, source, fingerprint(key))
	return nil
}

// login receives a name and runs the four messages.
func (d *directory) login(conn io.ReadWriter, source string) (user string, key []byte, err error) {
	name, err := receive(conn)
	if err != nil {
		return "", nil, err
	}
	msg1, err := receive(conn)
	if err != nil {
		return "", nil, err
	}
	user = string(name)
	cfg := pake.Config{Budget: d.budget, Source: source}
	verifier := d.decoys.Verifier(user, d.name, d.users[user])
	msg2, run, err := pake.Respond(cfg, user, d.name, verifier, msg1)
	if err != nil {
		return "", nil, err
	}
	defer run.Abort()
	if err := send(conn, msg2); err != nil {
		return "", nil, err
	}
	msg3, err := receive(conn)
	if err != nil {
		return "", nil, err
	}
	msg4, key, err := run.Finish(msg3)
	if err != nil {
		return "", nil, err
	}
	return user, key, send(conn, msg4)
}

func openDirectory(name, verifierFile, decoyFile string) (*directory, error) {
	users, err := readVerifiers(verifierFile)
	if err != nil {
		return nil, err
	}
	secret, err := readOrMakeSecret(decoyFile)
	if err != nil {
		return nil, err
	}
	decoys, err := pake.NewDecoys(pake.Config{}, secret)
	if err != nil {
		return nil, err
	}
	budget, err := pake.NewBudget(pake.BudgetConfig{})
	if err != nil {
		return nil, err
	}
	return &directory{name, users, decoys, budget}, nil
}

// readVerifiers reads lines that enrol wrote; a later one for the same user
// counts.
func readVerifiers(file string) (map[string]*pake.Verifier, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	users := make(map[string]*pake.Verifier)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		user, text, _ := strings.Cut(lines.Text(), " ")
		verifier := new(pake.Verifier)
		if err := verifier.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		users[user] = verifier
	}
	return users, lines.Err()
}

// readOrMakeSecret keeps the secret in a file: with a new one at each start,
// the salts of users who do not exist would change, and give them away.
func readOrMakeSecret(file string) ([]byte, error) {
	secret, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	secret = make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	return secret, os.WriteFile(file, secret, 0o600)
}
