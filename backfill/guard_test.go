package backfill_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/backfill"
	"github.com/changeling-db/changeling/event"
)

// B7: the signals of the engine steer a job: those of the server are read, and one that was asked for stops it before its first batch.
func TestB7SignalsOfTheEngine(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		d.exec("CREATE TABLE brake (n int)", "INSERT INTO brake VALUES (7)")
		var mu sync.Mutex
		var read []string
		waits := make(chan string, 100)
		sink := func(e event.Event) {
			switch e := e.(type) {
			case event.Signals:
				mu.Lock()
				defer mu.Unlock()
				for _, r := range e.Readings {
					read = append(read, r.Name)
				}
			case event.Waiting:
				if strings.Contains(e.Reason, "brake") {
					waits <- e.Reason
				}
			}
		}
		j, err := backfill.Open(d.Context(), d.db, backfill.Config{Events: sink,
			Throttle: changeling.Throttle{Queries: []changeling.Query{{Limit: 5, Text: "SELECT max(n) FROM brake"}}, MaxLatency: changeling.Off, MaxLoad: 10_000}})
		if err != nil {
			d.Fatal(err)
		}
		d.Cleanup(j.Close)
		done := make(chan error, 1)
		var s *backfill.Status
		go func() {
			var err error
			s, err = j.Run(d.Context(), add("guarded"))
			done <- err
		}()
		select {
		case reason := <-waits:
			if !strings.Contains(reason, "7, limit 5") {
				d.Errorf("it waits for %q", reason)
			}
		case err := <-done:
			d.Fatalf("it did not wait: %v", err)
		case <-time.After(time.Minute):
			d.Fatal("it neither waits nor works")
		}
		if got := d.ask("SELECT SUM(n) FROM accounts"); got != "0" {
			d.Errorf("%s rows were written although the query said no", got)
		}
		d.exec("DELETE FROM brake")
		if err := <-done; err != nil || s.Rows != 600 {
			d.Errorf("%+v, %v", s, err)
		}
		want := []string{"active sessions", "sessions that wait for us", "chunk time"}
		if d.kind == "mysql" {
			want = []string{"active sessions", "history list length", "chunk time"}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, name := range want {
			if !slices.Contains(read, name) {
				d.Errorf("%s is not read: %v", name, slices.Compact(read))
			}
		}
	})
}

// B7: a signal that was asked for and cannot be read is an error.
func TestB7WhatCannotBeRead(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		j, err := backfill.Open(d.Context(), d.db, backfill.Config{Throttle: changeling.Throttle{Queries: []changeling.Query{{Limit: 5, Text: "SELECT max(n) FROM nowhere"}}}})
		if err != nil {
			d.Fatal(err)
		}
		d.Cleanup(j.Close)
		if _, err := j.Run(d.Context(), add("blind")); changeling.Code(err) != 4 || !strings.Contains(err.Error(), "throttle-query is asked for") {
			d.Errorf("%d: %v", changeling.Code(err), err)
		}
		if got := d.ask("SELECT SUM(n) FROM accounts"); got != "0" {
			d.Errorf("%s rows were written", got)
		}
	})
}
