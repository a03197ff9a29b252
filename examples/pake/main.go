// Pake shows a password login between two processes, over TCP or over standard
// input and output. The password does not leave the one, and the other stores
// a verifier that is not a password.
//
//	(umask 077; echo 'correct horse' > password)
//	pake enrol -user alice -server broker -password password -verifiers verifiers
//	pake serve -server broker -verifiers verifiers -decoys decoys -listen localhost:7777
//	pake login -user alice -server broker -password password -connect localhost:7777
//
// Both print who logged in and a fingerprint of the key that they share now;
// nothing that is printed is secret. Without -listen and -connect, serve and
// login speak on standard input and output.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/pake"
)

func main() {
	err := command(os.Args[1:])
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "pake:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "pake:", err)
		os.Exit(1)
	}
}

// errUsage ends the program with 2.
var errUsage = errors.New(usage)

// parse reads the flags of a command, which takes nothing else.
func parse(flags *flag.FlagSet, args []string) error {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return fmt.Errorf("%w (%w)", errUsage, err)
	case flags.NArg() > 0:
		return fmt.Errorf("%w (unexpected argument %q)", errUsage, flags.Arg(0))
	}
	return nil
}

const usage = "usage: pake enrol|serve|login [flags]; -h after one of them lists its flags"

func command(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		fmt.Println("pake shows a login with a password that nobody can guess offline\n" + usage)
		return flag.ErrHelp
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	server := flags.String("server", "broker", "name of the server")
	switch args[0] {
	case "enrol":
		user := flags.String("user", "", "name of the user")
		password := flags.String("password", "", "file with the password")
		verifiers := flags.String("verifiers", "", "file that gets a line for the user; made if missing")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return enrol(*user, *server, *password, *verifiers)
	case "login":
		user := flags.String("user", "", "name of the user")
		password := flags.String("password", "", "file with the password")
		connect := flags.String("connect", "", "TCP address; standard input and output if empty")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return logIn(*user, *server, *password, *connect)
	case "serve":
		verifiers := flags.String("verifiers", "", "file with a line for each user")
		decoys := flags.String("decoys", "", "file with the secret that hides who exists; made if missing")
		listen := flags.String("listen", "", "TCP address; standard input and output, once, if empty")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return serve(*server, *verifiers, *decoys, *listen)
	}
	return errUsage
}

// enrol adds a line to the file of verifiers, which only its owner may read: a
// verifier is as secret as a password hash.
func enrol(user, server, passwordFile, verifierFile string) error {
	if strings.ContainsAny(user, " \t\r\n") {
		return errors.New("a user's name in the file has no spaces")
	}
	password, err := readPassword(passwordFile)
	if err != nil {
		return err
	}
	defer clear(password)
	verifier, err := pake.NewVerifier(pake.Config{}, user, server, password)
	if err != nil {
		return err
	}
	text, err := verifier.MarshalText()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(verifierFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", user, text)
	return errors.Join(err, f.Close())
}

// readPassword returns the first line of a file. A password on the command
// line would be in everybody's list of processes.
func readPassword(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// logIn is the user's side of the connection.
func logIn(user, server, passwordFile, address string) error {
	password, err := readPassword(passwordFile)
	if err != nil {
		return err
	}
	defer clear(password)
	var conn io.ReadWriter = standard{os.Stdin, os.Stdout}
	if address != "" {
		tcp, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			return err
		}
		defer tcp.Close()
		if err := tcp.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		conn = tcp
	}
	key, err := login(conn, user, server, password)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "logged in to %s as %s, key %s\n", server, user, fingerprint(key))
	return nil
}

// login sends the name and runs the four messages.
func login(conn io.ReadWriter, user, server string, password []byte) ([]byte, error) {
	msg1, client, err := pake.Start(pake.Config{}, user, server, password)
	if err != nil {
		return nil, err
	}
	defer client.Abort()
	if err := send(conn, []byte(user), msg1); err != nil {
		return nil, err
	}
	msg2, err := answer(conn)
	if err != nil {
		return nil, err
	}
	msg3, err := client.Reply(msg2)
	if err != nil {
		return nil, err
	}
	if err := send(conn, msg3); err != nil {
		return nil, err
	}
	msg4, err := answer(conn)
	if err != nil {
		return nil, err
	}
	return client.Finish(msg4)
}

// answer receives a message of a server that does not say why it has none.
func answer(conn io.Reader) ([]byte, error) {
	message, err := receive(conn)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the server ended the login: a wrong name or password, or too many attempts")
	}
	return message, err
}
