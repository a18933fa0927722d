package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/changeling-db/changeling/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is meant, run the test with -update and read the difference. Got:\n%s", path, got)
	}
}

// all is each event once with every field set, so that the contract shows all of it.
var all = []event.Event{
	event.Planned{Change: "c7f3", Table: "app.orders", Statement: "ALTER TABLE app.orders ALTER id TYPE bigint", Route: "table",
		Why: "a rewrite", Resumed: true, Step: "copy rows"},
	event.StepStarted{Step: "copy", Name: "copy rows", Total: 12_000_000, Unit: "rows"},
	event.StepEnded{Step: "copy", Name: "copy rows", Took: 113 * time.Second, Done: 12_000_123},
	event.Progress{Step: "copy", Done: 4_200_000, Total: 12_000_000, Chunk: 2300, Took: 198765 * time.Microsecond, Pending: 17,
		Throttled: 0.34567, Cause: "commit latency"},
	event.Waiting{Step: "copy", Reason: "commit latency 41 ms, limit 15 ms"},
	event.Signals{Workers: 2, Load: 1.23456, Readings: []event.Reading{
		{Name: "replica lag", Load: 1.23456, Text: "replica lag of db2 3.7 s, limit 3 s", Hard: true}, {Name: "commit latency", Load: 0.08, Text: "commit latency 0.41 ms, limit 5.0 ms"}}},
	event.Retried{Step: "copy", What: "chunk", Attempt: 2, Err: errors.New("deadlock detected"), Wait: 150 * time.Millisecond},
	event.Restarted{Reason: "somebody truncated app.orders"},
	event.Differed{Keys: []string{`(1)`, `("a<b>")`}, Rows: 2},
	event.Verified{Rows: 12_000_123, Chunks: 600, Repaired: 2, Took: 6500 * time.Millisecond},
	event.Compared{Table: "app.orders", Rows: 12_000_123, Source: "17", Shadow: "17", Keys: []string{"(1)"}, At: "0-1-7", Held: 4 * time.Millisecond, Took: 6500 * time.Millisecond},
	event.CutoverTried{Attempt: 3, Waited: 3 * time.Millisecond, Held: 4200 * time.Microsecond, Pending: 12, Swapped: true,
		Err: errors.New("canceling statement due to lock timeout")},
	event.Done{Change: "c7f3", Table: "app.orders", Status: "done", Rows: 12_000_123, Verified: 12_000_123, Took: 3723 * time.Second,
		Held: 4200 * time.Microsecond, OldTable: "changeling_c7f3_old.orders",
		DropAt: time.Date(2026, 11, 25, 4, 16, 0, 0, time.FixedZone("", 3600)), Err: errors.New("release: disk full")},
	event.Notice{Text: "a notice"},
}

// zero is each event once with no field set.
func zero() []event.Event {
	var events []event.Event
	for _, e := range all {
		events = append(events, reflect.Zero(reflect.TypeOf(e)).Interface().(event.Event))
	}
	return events
}

// The list above, which the golden files rest on, has all events of the package.
func TestAllAreAll(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "event" {
			want = append(want, f.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	for _, e := range all {
		got = append(got, reflect.TypeOf(e).Name())
		for v, i := reflect.ValueOf(e), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is not set in the list", v.Type().Name(), v.Type().Field(i).Name)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the list has %v, want %v", got, want)
	}
}

// The contract with programs: a difference in this file is a new version, or a new field.
func TestJSON(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := event.JSON(&out)
		for _, e := range all {
			s(e)
			time.Sleep(1234567 * time.Microsecond)
		}
		for _, e := range zero() {
			s(e)
		}
		golden(t, "contract.jsonl", out.String())
	})
}

// Every field of every event is in the contract, and each line is an object without a name that occurs twice.
func TestJSONHasEveryField(t *testing.T) {
	t.Parallel()
	for _, e := range all {
		var out bytes.Buffer
		event.JSON(&out)(e)
		var object map[string]any
		if err := json.Unmarshal(out.Bytes(), &object); err != nil {
			t.Fatalf("%s: %v", out.String(), err)
		}
		kind := reflect.TypeOf(e)
		want := kind.NumField() + len([]string{"v", "ts", "seq", "event", "change"})
		if _, own := kind.FieldByName("Change"); own {
			want--
		}
		if len(object) != want || strings.Count(out.String(), `":`) < want {
			t.Errorf("%s has %d fields, want %d", out.String(), len(object), want)
		}
		if object["event"] != event.Name(e) {
			t.Errorf("event = %v, want %s", object["event"], event.Name(e))
		}
	}
}

// lost is a writer that cannot write.
type lost struct{}

func (lost) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestALineThatCannotBeWrittenIsLost(t *testing.T) {
	t.Parallel()
	for _, e := range append(zero(), all...) {
		event.Tee(event.JSON(lost{}), event.Lines(lost{}))(e)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := event.Log(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	for _, e := range append(zero(), all...) {
		s(e)
	}
	golden(t, "log.txt", out.String())
}

func TestLogNamesTheChangeOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := event.Log(slog.New(slog.NewTextHandler(&out, nil)))
	s(event.Planned{Change: "one"})
	s(event.Planned{Change: "two"})
	out.Reset()
	s(event.Notice{Text: "hello"})
	if got := out.String(); !strings.Contains(got, "change=two") || strings.Contains(got, "change=one") {
		t.Errorf("log = %q, want change=two alone", got)
	}
}

func TestTee(t *testing.T) {
	t.Parallel()
	var got []string
	note := func(name string) event.Sink {
		return func(e event.Event) { got = append(got, name+" "+e.(event.Notice).Text) }
	}
	s := event.Tee(note("a"), nil, note("b"))
	s(event.Notice{Text: "1"})
	s(event.Notice{Text: "2"})
	if want := []string{"a 1", "b 1", "a 2", "b 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSerial(t *testing.T) {
	t.Parallel()
	n := 0 // the race detector would find two at once
	s := event.Serial(func(event.Event) { n++ })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				s(event.Notice{})
			}
		})
	}
	wg.Wait()
	if n != 800 {
		t.Errorf("%d calls arrived, want 800", n)
	}
}

func ExampleTee() {
	s := event.Tee(
		func(e event.Event) { fmt.Println("bar:", event.Name(e)) },
		func(e event.Event) { fmt.Println("log:", event.Name(e)) },
	)
	s(event.StepStarted{Step: "copy"})
	// Output:
	// bar: step_started
	// log: step_started
}
