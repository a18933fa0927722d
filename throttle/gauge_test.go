package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/throttle"
)

func figures(f ...throttle.Figure) func(context.Context) ([]throttle.Figure, error) {
	return func(context.Context) ([]throttle.Figure, error) { return f, nil }
}

func TestGauge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		gauge throttle.Gauge
		want  string
	}{
		{"the worst counts", throttle.Gauge{Name: "replica lag", Limit: 4, Unit: throttle.Seconds, Ask: figures(throttle.Figure{Of: "a", Value: 1}, throttle.Figure{Of: "b", Value: 6}, throttle.Figure{Of: "c", Value: 5})},
			"1.50 replica lag of b 6 s, limit 4 s"},
		{"no figure is no load", throttle.Gauge{Name: "replica lag", Limit: 4, Ask: figures()}, "0.00 replica lag 0, limit 4"},
		{"below zero is idle", throttle.Gauge{Name: "x", Limit: 4, Ask: figures(throttle.Figure{Value: -8})}, "0.00 x -8, limit 4"},
		{"bytes", throttle.Gauge{Name: "log", Limit: 1 << 20, Unit: throttle.ByteRate, Ask: figures(throttle.Figure{Value: 3 << 19})}, "1.50 log 1.5 MiB/s, limit 1 MiB/s"},
		{"a share", throttle.Gauge{Name: "disk", Limit: 0.8, Unit: throttle.Percent, Ask: figures(throttle.Figure{Value: 0.6})}, "0.75 disk 60%, limit 80%"},
		{"a long time", throttle.Gauge{Name: "age", Limit: 0.5, Unit: throttle.Seconds, Ask: figures(throttle.Figure{Value: 150})}, "300.00 age 2m30s, limit 500 ms"},
	}
	for _, tt := range tests {
		r, err := tt.gauge.Read(t.Context())
		if got := fmt.Sprintf("%.2f %s", r.Load, r.Reason); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	broken := errors.New("no")
	g := throttle.Gauge{Name: "x", Limit: 1, Ask: func(context.Context) ([]throttle.Figure, error) { return nil, broken }}
	if _, err := g.Read(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Read = %v, want %v", err, broken)
	}
	g.Ask = figures(throttle.Figure{Value: 1}, throttle.Figure{Value: math.NaN()})
	if _, err := g.Read(t.Context()); err == nil {
		t.Error("what is no number was read")
	}
}

func TestPerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counters := []float64{1000, 3000, 3000, 100, 200}
		i := 0
		ask := throttle.PerSecond(func(context.Context) ([]throttle.Figure, error) {
			i++
			return []throttle.Figure{{Of: "log", Value: counters[i-1]}}, nil
		})
		var got []string
		for range counters {
			f, err := ask(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(f))
			pass(2 * time.Second)
		}
		if got, want := strings.Join(got, " "), "[] [{log 1000}] [{log 0}] [] [{log 50}]"; got != want {
			t.Errorf("rates %s, want %s", got, want)
		}
	})
}

// A replica is behind for as long as it has been without the oldest thing that it lacks, whatever is written meanwhile.
func TestTrail(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 200).Draw(rt, "written at each mark")
		at := rapid.IntRange(0, 400).Draw(rt, "replica")
		synctest.Test(t, func(t *testing.T) {
			var trail throttle.Trail
			position, began, want := 100, time.Now(), time.Duration(-1)
			for i, n := range append([]int{0}, steps...) {
				position += n
				if position > at && want < 0 {
					want = time.Duration(i) * time.Second
				}
				trail.Mark(float64(position))
				pass(time.Second)
			}
			if want >= 0 {
				want = time.Since(began) - want
			}
			if got := trail.Behind(float64(at)); got != max(want, 0) {
				rt.Fatalf("Behind(%d) = %v, want %v", at, got, max(want, 0))
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		var trail throttle.Trail
		for i := range 20000 { // five times as many as are kept
			trail.Mark(float64(i))
			pass(time.Second)
		}
		for _, at := range []int{-1, 0, 5000, 15000, 19990} {
			if got, want := trail.Behind(float64(at)), time.Duration(20000-at-1)*time.Second; got > want || got < want-want/50-time.Second {
				t.Errorf("Behind(%d) = %v, want %v or a little less", at, got, want)
			}
		}
		trail.Mark(7) // another server
		if got := trail.Behind(19999); got != 0 {
			t.Errorf("Behind = %v on another server, want 0", got)
		}
	})
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stop")
	f := throttle.File{Path: path}
	if r, err := f.Read(t.Context()); err != nil || r.Load != 0 {
		t.Errorf("Read = %v, %v without the file, want 0", r, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Read(t.Context()); err != nil || r.Load != 1 || r.Reason != "the file "+path+" exists" {
		t.Errorf("Read = %v, %v with the file, want 1", r, err)
	}
	if _, err := (throttle.File{Path: path + "/x"}).Read(t.Context()); err == nil {
		t.Error("a path that cannot be looked at was read")
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	var status int
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	h := throttle.HTTP{URL: strings.Replace(server.URL, "http://", "http://ann:secret@", 1) + "/go?token=secret"}
	for _, c := range []struct {
		status int
		body   string
		load   float64
		reason string
	}{
		{200, "fine", 0, ""}, {204, "", 0, ""}, {503, "busy hour\nsecond line", 1, server.URL + "/go answers 503: busy hour"}, {404, "", 1, server.URL + "/go answers 404"},
	} {
		status, body = c.status, c.body
		if r, err := h.Read(t.Context()); err != nil || r.Load != c.load || r.Reason != c.reason {
			t.Errorf("Read = %v, %v at %d, want %v %q", r, err, c.status, c.load, c.reason)
		}
	}
	server.Close()
	if _, err := h.Read(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Read = %v from a server that is down, want an error without secrets", err)
	}
}

func TestPrometheus(t *testing.T) {
	t.Parallel()
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("query"); r.URL.Path != "/api/v1/query" || got != `rate(x{a="b"}[1m]) + 1` {
			t.Errorf("asked %s for %q", r.URL.Path, got)
		}
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	p := throttle.Prometheus{URL: server.URL + "/", Query: `rate(x{a="b"}[1m]) + 1`}
	for _, c := range []struct{ body, want, err string }{
		{`{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"2.5"]}}`, "[{ 2.5}]", ""},
		{`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"x","instance":"db1"},"value":[1,"0.5"]},{"metric":{"__name__":"x"},"value":[1,"+Inf"]}]}}`, "[{db1 0.5} {x +Inf}]", ""},
		{`{"status":"success","data":{"resultType":"vector","result":[]}}`, "[]", "no data"},
		{`{"status":"success","data":{"resultType":"matrix","result":[]}}`, "[]", "expected a scalar"},
		{`{"status":"error","errorType":"bad_data","error":"parse error"}`, "[]", "parse error"},
		{`<html>`, "[]", "no JSON"},
	} {
		body = c.body
		f, err := p.Ask(t.Context())
		if fmt.Sprint(f) != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("Ask = %v, %v of %s; want %s and %q", f, err, c.body, c.want, c.err)
		}
	}
}
