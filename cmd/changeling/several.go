package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/lint"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// written is a statement and the file that it stands in.
type written struct {
	file string
	migrate.Statement
}

// forward are the statements of files, in the words of the server at hand. A file of a migration tool is read as its tool does: the way back
// is left out.
func forward(target lint.Target, inputs []input) (out []written, err error) {
	for _, in := range inputs {
		sources, err := migrate.Sources(filepath.ToSlash(in.file), in.text, migrate.ReadOptions{Syntax: target.Syntax()})
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			for _, st := range s.Statements {
				if !s.Down {
					out = append(out, written{s.File, st})
				}
			}
		}
	}
	return out, nil
}

// targeted is the server at hand.
func targeted(ctx context.Context, e *changeling.Engine) (lint.Target, error) {
	version, err := e.Version(ctx)
	if err != nil {
		return lint.Target{}, err
	}
	target, err := lint.ParseTarget(server(version))
	if err != nil {
		err = &fault.Problem{Kind: fault.Refused, Text: err.Error(), Err: err}
	}
	return target, err
}

// statements are what a command is given, in their order. One is answered as it was written. Of several, what changes no schema is passed
// over, or an error where all are to be run.
func statements(ctx context.Context, e *changeling.Engine, inputs []input, run bool) ([]string, error) {
	target, err := targeted(ctx, e)
	if err != nil {
		return nil, err
	}
	if _, err := plan.Parse(inputs[0].text, target.Syntax()); len(inputs) == 1 && err == nil {
		return []string{inputs[0].text}, nil
	}
	all, err := forward(target, inputs)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, usage("the statement is empty: one ALTER TABLE is expected")
	}
	var list []string
	for i, st := range all {
		parsed, err := plan.Parse(st.SQL, target.Syntax())
		if err != nil {
			return nil, usage("%s: %v; nothing was changed", ordinal(i, len(all)), err)
		}
		if first, _, _ := strings.Cut(parsed.Verb, " "); len(all) == 1 || slices.Contains(ddl, first) {
			list = append(list, st.SQL)
		} else if run {
			return nil, usage("%s changes no schema (%s): `changeling migrate up` runs whole files, with all that is in them; nothing was changed", ordinal(i, len(all)), clean(shorten(st.SQL, 60)))
		}
	}
	return list, nil
}

func ordinal(i, n int) string { return fmt.Sprintf("statement %d of %d", i+1, n) }

// behind is how many of several statements are made and need not be looked at again: up to the last one that is made and still is, or all
// before one that is under way, if the history has each of them. What changed their tables since are the statements behind them.
func behind(ctx context.Context, e *changeling.Engine, list []string) (int, error) {
	for i := len(list) - 1; i > 0; i-- {
		found, done, err := e.Known(ctx, list[i])
		if err != nil || found == nil && !done {
			continue // whatever it is, it is said when it is the statement's turn
		}
		made := true
		for j := 0; j < i && made; j++ {
			if made, err = e.Made(ctx, list[j]); err != nil {
				return 0, err
			}
		}
		if made && done {
			i++
		}
		if made {
			return i, nil
		}
	}
	return 0, nil
}
