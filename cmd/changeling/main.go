// Command changeling changes live tables of PostgreSQL, MySQL and MariaDB: see docs/COMMAND.md, or `changeling --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
)

func main() { os.Exit(execute()) }

// execute runs the command line and answers the exit code.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv}
	// The first signal ends the work in good order. From then on a signal does what it does by default: it ends us at once.
	defer context.AfterFunc(ctx, func() {
		stop()
		fmt.Fprintln(a.err, "changeling: stopping, what is done is kept; another signal exits at once")
	})()
	root := newRoot(a)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetArgs(commentsLast(os.Args[1:]))
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.began {
		err = &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%v: see `%s --help`; nothing was changed", err, cmd.CommandPath())}
	}
	err = explain(ctx, err)
	if text := errorText(err); text != "" {
		fmt.Fprintln(a.err, "changeling: "+a.redact(text))
	}
	return exitCode(err)
}

// commentsLast puts what begins with a comment of SQL behind a --: else a file of a statement, given as an argument, would be taken for a flag.
func commentsLast(args []string) []string {
	var flags, comments []string
	for _, arg := range args {
		if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "--") && strings.ContainsAny(name, " \t\r\n") {
			comments = append(comments, arg)
		} else {
			flags = append(flags, arg)
		}
	}
	if len(comments) == 0 || slices.Contains(args, "--") {
		return args
	}
	return slices.Concat(flags, []string{"--"}, comments)
}

// ended is an exit code of a command that has said all that there is to say.
type ended int

func (e ended) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitCode is the code of the table in docs/COMMAND.md.
func exitCode(err error) int {
	if e, ok := errors.AsType[ended](err); ok {
		return int(e)
	}
	return changeling.Code(err)
}

func errorText(err error) string {
	if _, ok := errors.AsType[ended](err); ok || err == nil {
		return ""
	}
	return strings.TrimSpace(err.Error())
}

// explain gives the errors a kind that the library passes on as they came from the server.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || fault.KindOf(err) == fault.Unexpected) && fault.KindOf(err) != fault.Stopped {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: "stopped by a signal. What is done is kept, nothing is lost: run the same command again"}
	}
	if _, ok := errors.AsType[ended](err); ok || fault.KindOf(err) != fault.Unexpected {
		return err
	}
	switch {
	case fault.Denied(err):
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
			"the server refuses this role: %s. `changeling doctor` says which rights are missing", fault.Message(err))}
	case fault.Code(err) == "25006":
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf("the server, or this role's sessions, are read-only: %s. `changeling doctor` says which it is", fault.Message(err))}
	case fault.Lost(err), fault.Transient(err):
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf(
			"the database is out of reach: %s. What is done is kept, nothing is lost: run the same command again", fault.Message(err))}
	}
	return err
}
