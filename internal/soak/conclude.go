package soak

import (
	"fmt"
	"io"
)

// Conclude writes a report and what must not be in it, and returns an error if there is any of that.
func Conclude(w io.Writer, report interface {
	Write(w io.Writer) error
	Failures() []string
}) error {
	if err := report.Write(w); err != nil {
		return err
	}
	failures := report.Failures()
	for _, failure := range failures {
		fmt.Fprintln(w, "FAILED:", failure)
	}
	if len(failures) > 0 {
		return fmt.Errorf("%d things that must not be", len(failures))
	}
	return nil
}
