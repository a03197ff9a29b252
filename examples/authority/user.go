package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/mqttsec/mqttsec/pake"
)

// userOptions are what the command line of user says.
type userOptions struct {
	action, name, server, store string
	verifiers                   bool
}

// userCommand changes the users, through the authority that has the store open if there is one.
func userCommand(ctx context.Context, args []string, in *os.File, out, complaints io.Writer) error {
	var o userOptions
	o.action, args = word(args)
	if o.action != "list" {
		o.name, args = word(args)
	}
	flags := newFlags("user", "user add|passwd|remove NAME -server NAME -store FILE\n       authority user list -store FILE [-verifiers]", complaints)
	flags.StringVar(&o.server, "server", "", "`NAME` of the authority, which clients are configured with")
	flags.StringVar(&o.store, "store", "", "`FILE` with the users; it is made if there is none")
	flags.BoolVar(&o.verifiers, "verifiers", false, "list each user's verifier too, as a gateway reads them; whoever has one can guess the password offline")
	if err := parse(flags, args, o.check); err != nil {
		return err
	}
	u, err := openUsers(ctx, o.store)
	if err != nil {
		return err
	}
	defer u.close()
	return o.carryOut(u, in, out, complaints)
}

// word takes the first argument unless it is an option.
func word(args []string) (string, []string) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return args[0], args[1:]
	}
	return "", args
}

func (o *userOptions) check() error {
	switch o.action {
	case "add", "passwd":
		if o.server == "" {
			return errors.New("-server is missing: a password is for one authority, by its name")
		}
	case "remove", "list":
	case "":
		return errors.New("one of add, passwd, remove and list says what to do")
	default:
		return fmt.Errorf("user %q: want add, passwd, remove or list", o.action)
	}
	switch {
	case o.verifiers && o.action != "list":
		return errors.New("-verifiers goes with list")
	case o.action != "list" && o.name == "":
		return fmt.Errorf("user %s: the user's name is missing", o.action)
	case o.store == "":
		return errors.New("-store is missing")
	}
	return nil
}

func (o *userOptions) carryOut(u users, in *os.File, out, complaints io.Writer) error {
	names, err := u.list()
	if err != nil {
		return err
	}
	if o.action == "list" {
		return o.print(u, names, out)
	}
	known := slices.Contains(names, o.name)
	switch {
	case o.action == "add" && known:
		return fmt.Errorf("there is a user %q already; passwd gives her another password", o.name)
	case o.action != "add" && !known:
		return fmt.Errorf("there is no user %q", o.name)
	case o.action == "remove":
		return u.remove(o.name)
	}
	password, err := readPassword(o.name, in, complaints, true)
	if err != nil {
		return err
	}
	v, err := pake.NewVerifier(pake.Config{}, o.name, o.server, password)
	clear(password)
	if err != nil {
		return err
	}
	text, err := v.MarshalText()
	if err != nil {
		return err
	}
	return u.set(o.name, string(text))
}

// print lists the users, one a line.
func (o *userOptions) print(u users, names []string, out io.Writer) error {
	for _, name := range names {
		if !o.verifiers {
			fmt.Fprintln(out, name)
			continue
		}
		verifier, err := u.verifier(name)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, name, verifier)
	}
	return nil
}

// maxPassword bounds a line of the standard input, bytes.
const maxPassword = 1024

// readPassword asks for a password, twice if it is a new one, without showing it, or reads a line if nobody is there to
// ask.
func readPassword(user string, in *os.File, complaints io.Writer, fresh bool) ([]byte, error) {
	if !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(in, maxPassword)).ReadBytes('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			return line, nil
		}
		return nil, errors.Join(errors.New("no password: a line of the standard input is one"), unlessEOF(err))
	}
	fmt.Fprintf(complaints, "password of %s: ", user)
	first, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(complaints)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return first, nil
	}
	fmt.Fprint(complaints, "once more: ")
	second, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(complaints)
	switch {
	case err != nil:
		return nil, err
	case len(first) == 0:
		return nil, errors.New("no password")
	case !bytes.Equal(first, second):
		return nil, errors.New("the passwords are different")
	}
	clear(second)
	return first, nil
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
