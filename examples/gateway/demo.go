package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

type demoOptions struct {
	dir, upstream string
	lifetime      time.Duration
}

func runDemo(ctx context.Context, o demoOptions, out io.Writer, log *slog.Logger) error {
	return errors.New("x")
}
