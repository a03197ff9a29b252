package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/mqttsec/mqttsec/examples/internal/acedemo"
)

// demo runs everything on free ports of this machine until ctx ends.
func demo(ctx context.Context, o options, stdout io.Writer, log *slog.Logger) error {
	d, err := acedemo.New(o.demo, o.lifetime)
	if err != nil {
		return err
	}
	at := site{as: d.AS, tls: serverTLS(d.TLS.Certificates[0]), stdout: stdout, log: log}
	if at.broker, err = net.Listen("tcp", "localhost:0"); err != nil {
		return errors.Join(err, at.as.Close())
	}
	d.Server.Log = log
	service, err := newService(d.Server, acedemo.Audience, at)
	if err != nil {
		return errors.Join(err, at.close())
	}
	return service.serve(ctx, func() error {
		advice, err := d.Write(at.broker, "")
		if err == nil {
			fmt.Fprint(stdout, advice)
		}
		return err
	})
}
