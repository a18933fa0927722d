package main

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// statement is where a command gets its ALTER TABLE from: an argument, standard input, or a file.
type statement struct{ file string }

func (s *statement) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "sql-file", "", "read the statement from a `file`")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) > 1:
			return usage("one statement is expected, not %d arguments: quote it", len(args))
		case len(args) == 1 && s.file != "":
			return usage("the statement is given twice, as an argument and by --sql-file")
		case len(args) == 0 && s.file == "":
			return usage("the statement is missing: give it as an argument, as - for standard input, or by --sql-file")
		}
		return nil
	}
}

func (s *statement) read(ctx context.Context, a *app, args []string) (string, error) {
	var text []byte
	var err error
	switch {
	case s.file != "" && s.file != "-":
		text, err = os.ReadFile(s.file)
	case s.file == "-" || args[0] == "-":
		text, err = untilDone(ctx, func() ([]byte, error) { return io.ReadAll(a.in) })
	default:
		text = []byte(args[0])
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", usage("the statement cannot be read: %v", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", usage("the statement is empty: one ALTER TABLE is expected")
	}
	return string(text), nil
}

// untilDone does not wait for a reader when ctx ends: a read of a terminal cannot be interrupted. The goroutine ends with
// the process, which is about to.
func untilDone[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case r := <-done:
		return r.value, r.err
	}
}
