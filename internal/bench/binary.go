package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// binaryGoals are about what a program for a small device weighs.
func binaryGoals() []Goal {
	return []Goal{{
		ID: "S1", What: "paho.mqtt.golang with aesmsg and mqttauth - without / crypto/tls beside net, arm6, stripped", Limit: 0.35,
		Count: func(ctx context.Context) (a, b float64, err error) {
			dir, err := os.MkdirTemp("", "size")
			if err != nil {
				return 0, 0, err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			var sizes [4]float64
			for i, program := range []string{clientWith, clientAlone, dialTLS, dialPlain} {
				if sizes[i], err = binarySize(ctx, dir, i, program); err != nil {
					return 0, 0, err
				}
			}
			return sizes[0] - sizes[1], sizes[2] - sizes[3], nil
		},
	}}
}

// The programs to compare. That a client is connected and used is what keeps the linker from leaving it out.
const (
	dialPlain = `package main
import "net"
func main() {
	conn, err := net.Dial("tcp", "127.0.0.1:1883")
	if err == nil { conn.Write([]byte("hello")) }
}`
	dialTLS = `package main
import "crypto/tls"
func main() {
	conn, err := tls.Dial("tcp", "127.0.0.1:8883", nil)
	if err == nil { conn.Write([]byte("hello")) }
}`
	clientAlone = `package main
import mqtt "github.com/eclipse/paho.mqtt.golang"
func main() {
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://127.0.0.1:1883"))
	client.Connect().Wait()
	client.Publish("a", 1, false, "hello").Wait()
}`
	clientWith = `package main
import mqtt "github.com/eclipse/paho.mqtt.golang"
import "github.com/mqttsec/mqttsec/aesmsg"
import "github.com/mqttsec/mqttsec/mqttauth"
func main() {
	key, err := aesmsg.GenerateKey("#")
	if err != nil { panic(err) }
	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	if err != nil { panic(err) }
	auth, err := mqttauth.New(mqttauth.Config{User: "alice", Password: []byte("secret"), Server: "broker"})
	if err != nil { panic(err) }
	opts := mqtt.NewClientOptions().AddBroker("tcp://127.0.0.1:1883")
	client := mqtt.NewClient(sealer.WrapV3(auth.WrapV3(opts)))
	client.Connect().Wait()
	client.Publish("a", 1, false, "hello").Wait()
}`
)

// binarySize builds a program for a small device and returns its size in bytes.
func binarySize(ctx context.Context, dir string, i int, program string) (float64, error) {
	source, binary := filepath.Join(dir, fmt.Sprintf("main%d.go", i)), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		return 0, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, source)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm", "GOARM=6", "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return 0, &missing{errors.New("the go command is not there"), installGo}
	case err != nil && strings.Contains(string(said), "no required module provides package"):
		return 0, fmt.Errorf("%w: not in a clone of the module", ErrSkip)
	case err != nil:
		return 0, fmt.Errorf("bench: go build: %w: %s", err, said)
	}
	info, err := os.Stat(binary)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()), nil
}
