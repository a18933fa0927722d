package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// statement is where a command gets its ALTER TABLE from: an argument, standard input, or a file.
type statement struct{ files []string }

// input is a text and where it comes from; "-" is what is no file.
type input struct{ file, text string }

func (s *statement) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.files, "sql-file", nil, "read the statement, or several, from a `file`")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) > 1:
			return usage("one statement is expected, not %d arguments: quote it", len(args))
		case len(args) == 1 && len(s.files) > 0:
			return usage("the statement is given twice, as an argument and by --sql-file")
		case len(args) == 0 && len(s.files) == 0:
			return usage("the statement is missing: give it as an argument, as - for standard input, or by --sql-file")
		}
		return nil
	}
}

func (s *statement) read(ctx context.Context, a *app, args []string) (string, error) {
	if len(s.files) > 1 {
		return "", usage("one statement is expected, and --sql-file names %d files", len(s.files))
	}
	inputs, err := s.inputs(ctx, a, args)
	if err != nil {
		return "", err
	}
	return inputs[0].text, nil
}

// inputs are the texts of all files, or of the one argument.
func (s *statement) inputs(ctx context.Context, a *app, args []string) ([]input, error) {
	var out []input
	for _, file := range s.files {
		one, err := load(ctx, a, cmp.Or(file, "-"))
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	if len(args) == 1 {
		one := input{"-", args[0]}
		if args[0] == "-" {
			var err error
			if one, err = load(ctx, a, "-"); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	for _, in := range out {
		if strings.TrimSpace(in.text) == "" {
			return nil, usage("the statement is empty: one ALTER TABLE is expected")
		}
	}
	return out, nil
}

// load reads a file, or standard input.
func load(ctx context.Context, a *app, file string) (input, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = untilDone(ctx, func() ([]byte, error) { return io.ReadAll(a.in) })
	} else {
		text, err = os.ReadFile(file)
	}
	if ctx.Err() != nil {
		return input{}, ctx.Err()
	}
	if err != nil {
		return input{}, usage("the statement cannot be read: %v", err)
	}
	return input{file, string(text)}, nil
}

// several says that more than one of the flags is set.
func several(flags ...bool) bool {
	n := 0
	for _, set := range flags {
		if set {
			n++
		}
	}
	return n > 1
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
