package main

import (
	"context"
	"fmt"
	"strings"
)

// confirm asks a person to type what is expected before something is done. Who is no terminal is not asked: a script has
// said what it wants by its command.
func (a *app) confirm(ctx context.Context, yes bool, question, expected string) error {
	if _, ok := terminal(a.in); yes || !ok {
		return nil
	}
	fmt.Fprintf(a.err, "%s\nType %s to go on: ", question, expected)
	answer, err := untilDone(ctx, func() (string, error) { return line(a) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || strings.TrimSpace(answer) != expected {
		return usage("not confirmed: %q was expected; nothing was changed", expected)
	}
	return nil
}

// line reads one line and nothing behind it.
func line(a *app) (string, error) {
	var text []byte
	for b := make([]byte, 1); ; {
		n, err := a.in.Read(b)
		if n == 1 && b[0] == '\n' {
			return string(text), nil
		}
		text = append(text, b[:n]...)
		if err != nil {
			return string(text), err
		}
	}
}
