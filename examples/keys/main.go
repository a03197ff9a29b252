// Command keys makes the keys that seal MQTT payloads, derives sub-keys for
// branches of the topic tree, and shows keys as text and as QR codes.
//
// Keys are secrets: they are read from a file or standard input, never from the
// command line, which every user of the machine can list.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"rsc.io/qr"

	"github.com/mqttsec/mqttsec/aesmsg"
)

const usage = `usage:
  keys new  [-qr] [-out file] FILTER              make a key for the topics that FILTER matches
  keys sub  [-qr] [-in file] [-out file] FILTER   derive the key of a branch from a wider key
  keys show [-qr] [-in file]                      show a key: its filter and its text

A key is one line of text that begins with "mqttsec:". Whoever has it can read
and write the messages of its topics. A sub-key opens its branch and nothing
beside it, and the holders of the wider key need not be told of it.

  keys new -out site.key 'site/#'
  keys sub -in site.key 'site/7/#' >device7.key
  keys show -qr -in device7.key

To move a fleet over that is in use: hand out the keys; wrap the receivers, with
InsecureAcceptUnsealed and InsecureSendUnsealed until a date; wrap the publishers,
without the latter; when Delivered tells of nothing unsealed any more, take away
the former. To change a key: put the new one behind the old one everywhere, then
before it, then take the old one away.

options:
`

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "keys:", err)
		os.Exit(1)
	}
}

// errUsage stands for a command line that cannot be understood, after the usage
// has been printed.
var errUsage = errors.New("wrong usage")

// options are what the commands have in common.
type options struct {
	in, out string
	qr      bool
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var opts options
	flags := flag.NewFlagSet("keys", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.in, "in", "", "read the key from this `file` instead of standard input")
	flags.StringVar(&opts.out, "out", "", "write the key to this new `file`, for its owner's eyes only, instead of standard output")
	flags.BoolVar(&opts.qr, "qr", false, "print a QR code as well")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	wrong := func(format string, args ...any) error {
		fmt.Fprintf(stderr, "keys: "+format+"\n", args...)
		flags.Usage()
		return errUsage
	}

	var command string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	wanted, known := map[string]int{"new": 1, "sub": 1, "show": 0}[command]
	switch {
	case !known:
		return wrong("the command is new, sub or show, not %q", command)
	case flags.NArg() > wanted && strings.HasPrefix(strings.ToLower(flags.Arg(wanted)), "mqttsec:"):
		return wrong("a key on the command line is no secret: use -in or standard input")
	case flags.NArg() != wanted && wanted == 1:
		return wrong("%s takes one topic filter; options stand before it", command)
	case flags.NArg() != wanted:
		return wrong("%s takes no arguments", command)
	case command == "new" && opts.in != "":
		return wrong("new reads no key")
	case command == "show" && opts.out != "":
		return wrong("show writes to standard output only")
	}

	key, err := obtain(command, flags.Arg(0), opts.in, stdin)
	if err != nil {
		return err
	}
	if command == "show" {
		fmt.Fprintf(stdout, "filter: %s\n", key.Filter())
	}
	return show(key, opts, stdout)
}

// obtain makes, derives or reads the key that a command is about.
func obtain(command, filter, in string, stdin io.Reader) (aesmsg.Key, error) {
	if command == "new" {
		return aesmsg.GenerateKey(filter)
	}
	key, err := read(in, stdin)
	if err != nil || command == "show" {
		return key, err
	}
	return key.Sub(filter)
}

// longest is more than the text of any key takes.
const longest = 1 << 17

// read takes the text of a key from a file or standard input.
func read(file string, stdin io.Reader) (key aesmsg.Key, err error) {
	from := stdin
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return key, err
		}
		defer func() { _ = f.Close() }() // it was only read
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, longest))
	if err != nil {
		return key, err
	}
	return key, key.UnmarshalText(text)
}

// show writes the key's text, and its QR code if that is wanted.
func show(key aesmsg.Key, opts options, stdout io.Writer) error {
	text, err := key.MarshalText()
	if err != nil {
		return err
	}
	if opts.out != "" {
		err = create(opts.out, append(text, '\n'))
	} else {
		_, err = fmt.Fprintf(stdout, "%s\n", text)
	}
	if err != nil || !opts.qr {
		return err
	}
	// In capitals all its characters are in the alphanumeric mode of QR codes.
	code, err := qr.Encode(strings.ToUpper(string(text)), qr.M)
	if err != nil {
		return fmt.Errorf("the key is too long for a QR code: %w", err)
	}
	return draw(stdout, code)
}

// create writes a file that was not there before, readable for its owner only.
func create(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// Colours are set, for a QR code must be dark on light on every terminal; the
// margin of four is part of the code (ISO/IEC 18004, 5.3.8).
const (
	whiteOnBlack = "\x1b[97;40m"
	reset        = "\x1b[0m"
	light        = "██"
	dark         = "  "
	margin       = 4
)

// draw prints a QR code, two characters a module since those are tall.
func draw(w io.Writer, code *qr.Code) error {
	var b strings.Builder
	for y := -margin; y < code.Size+margin; y++ {
		b.WriteString(whiteOnBlack)
		for x := -margin; x < code.Size+margin; x++ {
			if code.Black(x, y) {
				b.WriteString(dark)
			} else {
				b.WriteString(light)
			}
		}
		b.WriteString(reset + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
