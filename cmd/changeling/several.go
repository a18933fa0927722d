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

// statements are what a command is given, in their order. A file of a migration tool is read as its tool does: the way back is left
// out. One statement is answered as it was written. Of several, what changes no schema is passed over, or an error where all are to be run.
func statements(ctx context.Context, e *changeling.Engine, inputs []input, run bool) ([]string, error) {
	version, err := e.Version(ctx)
	if err != nil {
		return nil, err
	}
	target, err := lint.ParseTarget(server(version))
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Refused, Text: err.Error(), Err: err}
	}
	if _, err := plan.Parse(inputs[0].text, target.Syntax()); len(inputs) == 1 && err == nil {
		return []string{inputs[0].text}, nil
	}
	var out []string
	for _, in := range inputs {
		sources, err := migrate.Sources(filepath.ToSlash(in.file), in.text, migrate.ReadOptions{Syntax: target.Syntax()})
		if err != nil {
			return nil, err
		}
		for _, source := range sources {
			for _, st := range source.Statements {
				if !source.Down {
					out = append(out, st.SQL)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, usage("the statement is empty: one ALTER TABLE is expected")
	}
	var list []string
	for i, text := range out {
		parsed, err := plan.Parse(text, target.Syntax())
		if err != nil {
			return nil, usage("%s: %v; nothing was changed", ordinal(i, len(out)), err)
		}
		if first, _, _ := strings.Cut(parsed.Verb, " "); len(out) == 1 || slices.Contains(ddl, first) {
			list = append(list, text)
		} else if run {
			return nil, usage("%s changes no schema (%s): `changeling migrate up` runs whole files, with all that is in them; nothing was changed", ordinal(i, len(out)), clean(shortened(text)))
		}
	}
	return list, nil
}

func ordinal(i, n int) string { return fmt.Sprintf("statement %d of %d", i+1, n) }

func shortened(text string) string {
	if r := []rune(text); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return text
}

// behind is how many of several statements are made and need not be looked at again: up to the last one that is made and still is, or all
// before one that is under way, if the history has each of them. What changed their tables since are the statements behind them.
func behind(ctx context.Context, e *changeling.Engine, list []string) (int, error) {
	var made []string
	for i := len(list) - 1; i > 0; i-- {
		found, done, err := e.Known(ctx, list[i])
		if err != nil || found == nil && !done {
			continue // whatever it is, it is said when it is the statement's turn
		}
		if made == nil {
			all, err := e.List(ctx)
			if err != nil {
				return 0, err
			}
			for _, s := range all {
				if s.Status == "done" {
					made = append(made, same(s.Statement))
				}
			}
		}
		if !slices.ContainsFunc(list[:i], func(text string) bool { return !slices.Contains(made, same(text)) }) {
			if done {
				i++
			}
			return i, nil
		}
	}
	return 0, nil
}

// same is a statement without what it ends with.
func same(text string) string { return strings.TrimRight(text, "; \t\r\n") }
