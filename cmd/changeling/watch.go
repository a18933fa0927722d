package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/hook"
)

// working is how a command works on a change, and how it tells about it. run, resume and cutover share it.
type working struct {
	fast      bool
	unasked   bool // the data are not looked at before a copy
	quiet     bool
	output    string
	lockWait  time.Duration
	chunkTime time.Duration
	attempts  int
	snapshots string
	set       map[string][]string // of the throttle, by name
	replicas  []string
	kill      string
	hookTexts []string
	hooks     *hook.Hooks // nil: none
	sink      event.Sink

	began bool // the change is run by us
}

func (w *working) flags(a *app, cmd *cobra.Command) {
	a.captureFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&w.fast, "fast", false, "take the machine for the change: two workers, no throttle; for quiet hours")
	f.DurationVar(&w.chunkTime, "chunk-time", 0, "what one chunk of the copy should take, a `duration` (default 20ms)")
	f.IntVar(&w.attempts, "cutover-attempts", 0, "`number` of attempts to swap (default 60, about five minutes)")
	f.StringVar(&w.snapshots, "snapshots", "wait", "what becomes of transactions that began before the swap and read the table after it, a `way`: wait, insist, or ignore")
	f.StringVar(&w.kill, "kill-blockers", "none", "`who` may be ended for the swap: none, idle-in-transaction, or older-than=30s")
	f.StringArrayVar(&w.hookTexts, "hook", nil, "`event=target`: a program, or an address, that is told of an event; before-cutover may put the swap off")
	f.StringArrayVar(&w.replicas, "replica", nil, "connection `string` of a replica whose lag is watched; may be given several times")
	w.settings(f)
	f.StringVar(&w.output, "output", "text", "`format`: text, or json with one event a line")
	f.BoolVarP(&w.quiet, "quiet", "q", false, "tell only how it ended")
}

// dataFlag is of the commands that may begin a change.
func (w *working) dataFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.unasked, "no-check-data", false, "before a copy, do not look for rows that break what the statement demands: the copy finds them, later")
}

// config is the engine's, telling events to standard output.
func (w *working) config(a *app) (changeling.Config, error) {
	sink, err := a.sink(w.output, w.quiet)
	if err != nil {
		return changeling.Config{}, err
	}
	w.sink = event.Serial(sink)
	if sink, err = w.hooked(a, w.sink); err != nil {
		return changeling.Config{}, err
	}
	first := func(e event.Event) {
		if _, ok := e.(event.Planned); ok {
			w.began = true
		}
		sink(e)
	}
	snapshots := changeling.Snapshots(w.snapshots)
	if w.snapshots == "wait" {
		snapshots = changeling.SnapshotsWait
	}
	throttle, err := w.throttle()
	if err != nil {
		return changeling.Config{}, err
	}
	kill, err := changeling.ParseKill(w.kill)
	if err != nil {
		return changeling.Config{}, err
	}
	replicas, err := a.replicas(w.replicas)
	if err != nil {
		return changeling.Config{}, err
	}
	config := changeling.Config{Throttle: throttle, Kill: kill, Replicas: replicas, Fast: w.fast, NoDataCheck: w.unasked, Snapshots: snapshots, LockWait: w.lockWait, ChunkTime: w.chunkTime, CutoverAttempts: w.attempts, Events: first}
	if w.hooks != nil && w.hooks.Asks() {
		config.BeforeCutover = w.hooks.Ask
	}
	return config, nil
}

// sink is a bar on a terminal, lines elsewhere, JSON lines where asked for.
func (a *app) sink(output string, quiet bool) (event.Sink, error) {
	var sink event.Sink
	width, isTerminal := terminal(a.out)
	switch {
	case output == "json":
		sink = event.JSON(a.out)
	case output != "text":
		return nil, usage("--output %q: expected text or json", output)
	case isTerminal && !quiet:
		sink = unsaid(newBar(a.out, width))
	case isTerminal:
		sink = unsaid(event.Lines(a.out))
	default:
		sink = event.Lines(a.out)
	}
	if !quiet {
		return sink, nil
	}
	return func(e event.Event) {
		if _, ok := e.(event.Done); ok {
			sink(e)
		}
	}, nil
}

// unsaid leaves out the error with which a run ends: on a terminal it follows on standard error.
func unsaid(sink event.Sink) event.Sink {
	return func(e event.Event) {
		if d, ok := e.(event.Done); ok {
			d.Err = nil
			e = d
		}
		sink(e)
	}
}

// goOn runs a change here, unless somebody works on it already, who then does what was asked for.
func (w *working) goOn(ctx context.Context, a *app, c *changeling.Change, s changeling.Status, goes string) error {
	err := w.during(ctx, func() error { return c.Run(ctx) })
	who := cmp.Or(s.Owner, "somebody else")
	if !w.began && err == nil {
		fmt.Fprintf(w.words(a), "change %s %s: %s has just finished it\n", s.ID, goes, who)
		return nil
	}
	if w.began || !errors.Is(err, changeling.ErrOwned) {
		return err
	}
	fmt.Fprintf(w.words(a), "change %s %s: %s works on it; `changeling status %s --watch` follows it\n", s.ID, goes, who, s.ID)
	return nil
}

// words is where a sentence for a person goes: standard output, unless that has events for a program.
func (w *working) words(a *app) io.Writer {
	if w.output == "json" {
		return a.err
	}
	return a.out
}

// hooked is a sink that tells the hooks of the flags, too.
func (w *working) hooked(a *app, sink event.Sink) (event.Sink, error) {
	if len(w.hookTexts) == 0 {
		return sink, nil
	}
	var list []hook.Hook
	for _, text := range w.hookTexts {
		h, err := hook.Parse(text)
		if err != nil {
			return nil, usage("--hook: %v", err)
		}
		list = append(list, h)
	}
	secret := a.env("CHANGELING_HOOK_SECRET")
	a.secrets = append(a.secrets, secret)
	w.hooks = hook.New(list, secret)
	return w.hooks.Sink(sink), nil
}

// during calls the hooks while a change is run, and until all were called.
func (w *working) during(ctx context.Context, run func() error) error {
	if w.hooks == nil {
		return run()
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the end of a run that was stopped is told, too
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.hooks.Run(ctx, func(text string) { w.sink(event.Notice{Text: text}) })
	}()
	err := run()
	cancel()
	<-over
	return err
}
