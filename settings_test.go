package changeling_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		values []string
		want   changeling.Throttle
		fails  string
	}{
		{"max-lag", []string{"1m30s"}, changeling.Throttle{MaxLag: 90 * time.Second}, ""},
		{"max-lag", []string{"off"}, changeling.Throttle{MaxLag: changeling.Off}, ""},
		{"max-lag", []string{"0s"}, changeling.Throttle{}, "expected a duration"},
		{"max-lag", []string{"-1s"}, changeling.Throttle{}, "expected a duration"},
		{"max-lag", []string{"5"}, changeling.Throttle{}, "expected a duration"},
		{"max-lag", []string{"5s", "6s"}, changeling.Throttle{}, "one value"},
		{"max-lag-bytes", []string{"64MB"}, changeling.Throttle{MaxLagBytes: 64 << 20}, ""},
		{"max-bytes-per-s", []string{"1.5 KiB"}, changeling.Throttle{MaxBytes: 1536}, ""},
		{"max-bytes-per-s", []string{"2G"}, changeling.Throttle{MaxBytes: 2 << 30}, ""},
		{"max-bytes-per-s", []string{"700"}, changeling.Throttle{MaxBytes: 700}, ""},
		{"max-bytes-per-s", []string{"700X"}, changeling.Throttle{}, "expected a size"},
		{"max-bytes-per-s", []string{"KB"}, changeling.Throttle{}, "expected a size"},
		{"max-bytes-per-s", []string{"9e99T"}, changeling.Throttle{}, "expected a size"},
		{"max-bytes-per-s", []string{"NaN"}, changeling.Throttle{}, "expected a size"},
		{"max-slot", []string{"off"}, changeling.Throttle{MaxSlot: changeling.Off}, ""},
		{"max-load", []string{"80"}, changeling.Throttle{MaxLoad: 80}, ""},
		{"max-load", []string{"0"}, changeling.Throttle{}, "a whole number"},
		{"max-disk", []string{"80%"}, changeling.Throttle{MaxDisk: 0.8}, ""},
		{"max-disk", []string{"off"}, changeling.Throttle{MaxDisk: changeling.Off}, ""},
		{"max-disk", []string{"101"}, changeling.Throttle{}, "a percentage"},
		{"nice", []string{"19"}, changeling.Throttle{Nice: 19}, ""},
		{"nice", []string{"20"}, changeling.Throttle{}, "0 to 19"},
		{"throttle-query", []string{"100: SELECT a::int", "0.5:SELECT 2"}, changeling.Throttle{Queries: []changeling.Query{{Limit: 100, Text: "SELECT a::int"}, {Limit: 0.5, Text: "SELECT 2"}}}, ""},
		{"throttle-query", []string{"SELECT 1"}, changeling.Throttle{}, "expected a limit"},
		{"throttle-query", []string{"1:"}, changeling.Throttle{}, "expected a limit"},
		{"throttle-query", []string{"-1: SELECT 1"}, changeling.Throttle{}, "expected a limit"},
		{"throttle-prometheus", []string{"2: https://p:9090/x max(y) by (z)"}, changeling.Throttle{Prometheus: []changeling.Query{{Limit: 2, URL: "https://p:9090/x", Text: "max(y) by (z)"}}}, ""},
		{"throttle-prometheus", []string{"2: max(y)"}, changeling.Throttle{}, "http://"},
		{"throttle-prometheus", []string{"2: http://p:9090"}, changeling.Throttle{}, "expected a limit"},
		{"throttle-http", []string{"http://a", "off", "http://b"}, changeling.Throttle{HTTP: []string{"http://b"}}, ""},
		{"throttle-http", []string{"example.org"}, changeling.Throttle{}, "http://"},
		{"throttle-file", []string{"/tmp/a b"}, changeling.Throttle{Files: []string{"/tmp/a b"}}, ""},
		{"window", []string{"* 1-5"}, changeling.Throttle{}, "five"},
		{"max-lug", []string{"1s"}, changeling.Throttle{}, "expected one of max-lag, "},
	}
	for _, tt := range tests {
		var got changeling.Throttle
		err := got.Set(tt.name, tt.values...)
		if tt.fails != "" {
			if !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s=%q: %v, want %q", tt.name, tt.values, err, tt.fails)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s=%q: %+v, %v, want %+v", tt.name, tt.values, got, err, tt.want)
		}
	}
}

// TestSetWhileItRuns: what is said to a change counts within two seconds, before what it was started with, and for the runs
// that follow; several may say something at the same time.
func TestSetWhileItRuns(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 20000)
	var g gauges
	c, end := start(t, db, widenOrders, changeling.Config{Events: g.sink, DropAfter: changeling.DropNow, Throttle: changeling.Throttle{MaxRows: 200}})
	reaches(t, c, "a copy", func(s changeling.Status) bool { return s.RowsDone > 0 })
	began := time.Now()
	from := rowsDone(t, c)
	reaches(t, c, "two seconds", func(changeling.Status) bool { return time.Since(began) > 2*time.Second })
	// A second's worth of blocks may be more than a second's worth of rows, where blocks differ.
	rows := rowsDone(t, c) - from
	if took := time.Since(began); float64(rows) > 200*took.Seconds()+2*700 {
		t.Errorf("%d rows in %s, want about 200 in a second", rows, took)
	}
	errs := make(chan error)
	names := map[string]string{"max-lag": "off", "max-load": "70", "nice": "1", "max-archive": "9000"}
	for name, value := range names {
		go func() { errs <- c.Set(t.Context(), name, value) }()
	}
	for range names {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	watches := func(name string) bool {
		return slices.ContainsFunc(g.last.Readings, func(r event.Reading) bool { return r.Name == name })
	}
	reaches(t, c, "all settings", func(changeling.Status) bool { // one may be heard before the others are said
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.ContainsFunc(g.last.Readings, says("limit 70")) && !watches("replica lag")
	})
	if err := c.Set(t.Context(), "max-load"); err != nil {
		t.Fatal(err)
	}
	g.shows(t, "active sessions", says("limit 25"))
	if err := c.Set(t.Context(), "max-rows-per-s", "off"); err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if want := []string{"max-lag=off", "max-archive=9000", "max-rows-per-s=off", "nice=1"}; err != nil || !reflect.DeepEqual(s.Settings, want) {
		t.Errorf("settings %q, %v; want %q", s.Settings, err, want)
	}
	select {
	case err := <-end:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("20,000 rows take longer than a minute although the cap of 200 in a second was taken away")
	}
	if err := c.Set(t.Context(), "nice", "2"); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("Set of a change that is over = %v", err)
	}
}

func rowsDone(t *testing.T, c *changeling.Change) int64 {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.RowsDone
}
