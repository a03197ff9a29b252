package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// users is where users are changed: in the store, or by the authority that has it open.
type users interface {
	list() ([]string, error)
	verifier(name string) (string, error) // in its text form
	set(name, verifier string) error
	remove(name string) error
	close()
}

// openUsers asks the authority that serves, and opens the store itself if none does.
func openUsers(ctx context.Context, store string) (users, error) {
	var dialer net.Dialer
	if conn, err := dialer.DialContext(ctx, "unix", socketOf(store)); err == nil {
		return &remote{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}, nil
	}
	s, err := authbroker.OpenStore(store)
	if err != nil {
		return nil, err
	}
	return &local{store: s, ended: func(string) error { return nil }}, nil
}

// socketOf is where the authority that has the store open listens for changes; the directory's owner alone may
// connect.
func socketOf(store string) string { return store + ".sock" }

// local changes the store. ended is told of a user whose password ended.
type local struct {
	store *authbroker.Store
	ended func(user string) error
}

func (l *local) list() ([]string, error) { return l.store.Users() }

func (l *local) verifier(name string) (string, error) {
	v, err := l.store.Verifier(name)
	if err != nil {
		return "", err
	}
	if v == nil {
		return "", fmt.Errorf("there is no user %q", name)
	}
	text, err := v.MarshalText()
	return string(text), err
}

func (l *local) set(name, verifier string) error {
	if err := l.store.SetUserText(name, verifier); err != nil {
		return err
	}
	return l.ended(name)
}

func (l *local) remove(name string) error {
	if _, err := l.store.RemoveUser(name); err != nil {
		return err
	}
	return l.ended(name)
}

func (l *local) close() { _ = l.store.Close() } // everything is on disk already

// An order is what the user command asks an authority for.
type order struct {
	Action, Name, Verifier string
}

// An answer is what comes of it.
type answer struct {
	Error    string
	Users    []string
	Verifier string
}

// remote has an authority change its users.
type remote struct {
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

func (r *remote) do(o order) (a answer, err error) {
	if err := r.out.Encode(o); err != nil {
		return a, err
	}
	if err := r.in.Decode(&a); err != nil {
		return a, fmt.Errorf("the authority that has the store open does not answer: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (r *remote) list() ([]string, error) {
	a, err := r.do(order{Action: "list"})
	return a.Users, err
}

func (r *remote) verifier(name string) (string, error) {
	a, err := r.do(order{Action: "verifier", Name: name})
	return a.Verifier, err
}

func (r *remote) set(name, verifier string) error {
	_, err := r.do(order{"set", name, verifier})
	return err
}

func (r *remote) remove(name string) error {
	_, err := r.do(order{Action: "remove", Name: name})
	return err
}

func (r *remote) close() { _ = r.conn.Close() }

// orderTime bounds how long a user command may keep a connection.
const orderTime = 5 * time.Minute

// control lets user commands change the users of l, until ctx ends.
func control(ctx context.Context, store string, l *local) (stop func(), err error) {
	path := socketOf(store)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was killed: we have the store
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(orderTime))
			end := context.AfterFunc(ctx, func() { _ = conn.Close() })
			obey(conn, l)
			end()
			_ = conn.Close()
		}
	}()
	return func() { _ = listener.Close(); <-done }, nil
}

// obey carries orders out, one after the other.
func obey(conn net.Conn, l *local) {
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var o order
		if in.Decode(&o) != nil {
			return
		}
		var a answer
		var err error
		switch o.Action {
		case "list":
			a.Users, err = l.list()
		case "verifier":
			a.Verifier, err = l.verifier(o.Name)
		case "set":
			err = l.set(o.Name, o.Verifier)
		case "remove":
			err = l.remove(o.Name)
		default:
			err = fmt.Errorf("unknown order %q", o.Action)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			return
		}
	}
}
