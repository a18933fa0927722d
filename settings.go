package changeling

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/throttle"
)

// Off is no limit, where zero is a limit of the engine's own choice.
const Off = -1

// Throttle is how a change keeps out of the way of others. The zero Throttle is a quiet guest: it watches what the server and
// the role let it see, each with a limit that a healthy server does not come near. [Off] takes a limit away.
//
// A signal that is over its limit, or cannot be read, holds the change back: those about users' comfort slow it down to a
// single worker with long rests, which never stops; those about safety, and all that you set up yourself, stop it.
type Throttle struct {
	// MaxLag is how long a replica may be behind. Zero means 3s.
	MaxLag time.Duration
	// MaxLagBytes is how much of the write-ahead log a replica of PostgreSQL may be behind. Zero is no limit.
	MaxLagBytes int64
	// MaxLoad is how many sessions may be active (PostgreSQL), or Threads_running (MySQL, MariaDB). Zero means 25, and half
	// as many again as at the beginning where that is more.
	MaxLoad int64
	// MaxLatency is how long a tiny commit may take. Zero means 3ms, and three times as long as at the beginning where that
	// is more.
	MaxLatency time.Duration
	// MaxTransaction is how old a transaction of others may be. Zero is no limit.
	MaxTransaction time.Duration
	// MaxLog is how many bytes of write-ahead or redo log the server, all users together, may write in a second. Zero is no limit.
	MaxLog int64
	// MaxArchive is how many files of write-ahead log may wait for their archiving. Zero means 128.
	MaxArchive int64
	// MaxSlot is how many bytes of write-ahead log a replication slot may hold. Zero is no limit but the server's own, of
	// which four fifths may be used.
	MaxSlot int64
	// MaxHistory is how long InnoDB's history list may be. Zero means a million.
	MaxHistory int64
	// MaxDisk is which share of the server's disk may be full, where it can be seen. Zero means 0.95.
	MaxDisk float64

	// Queries are SQL whose worst number counts, Prometheus likewise.
	Queries    []Query
	Prometheus []Query
	// HTTP are addresses that must answer with a status of 200 to 299, Files those that must not exist.
	HTTP  []string
	Files []string
	// Window is when rows may be moved, CutoverWindow when the tables may be swapped; empty is always.
	Window, CutoverWindow throttle.Window

	// MaxRows and MaxBytes bound what is moved in a second. Zero is no bound.
	MaxRows, MaxBytes int64
	// Nice makes each rest longer by so many times its chunk, and keeps to one worker: 0 to 19.
	Nice int
}

// Query is a question with a limit: at it, the change stops.
type Query struct {
	Limit float64
	URL   string // of the Prometheus server; empty for SQL
	Text  string
}

// Replica is a replica of the database that is asked itself how far it is.
type Replica struct {
	Name string // for a person
	DB   *sql.DB
}

// Setting is one of the knobs of a throttle, for command lines and for what is said to a change while it runs.
type Setting struct {
	Name string // "max-lag"
	Kind string // what its value is: "duration"
	Help string
	many bool
	set  func(t *Throttle, value string) error
}

// Settings are all knobs of a throttle.
func Settings() []Setting {
	return []Setting{
		{"max-lag", "duration", "stop while a replica is so far behind (default 3s)", false, duration(func(t *Throttle) *time.Duration { return &t.MaxLag })},
		{"max-lag-bytes", "size", "stop while a replica lacks so much of the write-ahead log (PostgreSQL)", false, size(func(t *Throttle) *int64 { return &t.MaxLagBytes })},
		{"max-load", "number", "slow down while so many sessions are active (default 25, or half as many again as at the start)", false, number(func(t *Throttle) *int64 { return &t.MaxLoad })},
		{"max-latency", "duration", "slow down while a tiny commit takes so long (default 3ms, or three times as long as at the start)", false, duration(func(t *Throttle) *time.Duration { return &t.MaxLatency })},
		{"max-transaction", "duration", "slow down while a transaction of others is so old", false, duration(func(t *Throttle) *time.Duration { return &t.MaxTransaction })},
		{"max-log-per-s", "size", "slow down while the server writes so much log in a second", false, size(func(t *Throttle) *int64 { return &t.MaxLog })},
		{"max-archive", "number", "stop while so many files of log wait for their archiving (PostgreSQL, default 128)", false, number(func(t *Throttle) *int64 { return &t.MaxArchive })},
		{"max-slot", "size", "stop while a replication slot holds so much log (PostgreSQL)", false, size(func(t *Throttle) *int64 { return &t.MaxSlot })},
		{"max-history", "number", "slow down while the history list is so long (MySQL, MariaDB, default 1000000)", false, number(func(t *Throttle) *int64 { return &t.MaxHistory })},
		{"max-disk", "percent", "stop while the server's disk is so full, where it can be seen (default 95%)", false, percent},
		{"throttle-query", "limit: SQL", "stop while the query answers the limit or more: '100: SELECT count(*) FROM due'", true, func(t *Throttle, v string) error { return query(&t.Queries, v, false) }},
		{"throttle-prometheus", "limit: URL query", "stop while it answers the limit or more: '0.5: http://prometheus:9090 max(x)'", true, func(t *Throttle, v string) error { return query(&t.Prometheus, v, true) }},
		{"throttle-http", "URL", "stop while it does not answer 200 to 299", true, func(t *Throttle, v string) error { return address(&t.HTTP, v) }},
		{"throttle-file", "path", "stop while the file exists", true, func(t *Throttle, v string) error { t.Files = append(t.Files, v); return nil }},
		{"window", "cron", "move rows only in these minutes: 'TZ=Europe/Berlin * 22-23,0-4 * * *'", true, func(t *Throttle, v string) error { return window(&t.Window, v) }},
		{"cutover-window", "cron", "swap only in these minutes", true, func(t *Throttle, v string) error { return window(&t.CutoverWindow, v) }},
		{"max-rows-per-s", "number", "move no more rows in a second", false, number(func(t *Throttle) *int64 { return &t.MaxRows })},
		{"max-bytes-per-s", "size", "move no more in a second", false, size(func(t *Throttle) *int64 { return &t.MaxBytes })},
		{"nice", "n", "rest longer after each chunk, by n times what it took, 0 to 19", false, nice},
	}
}

// Set sets a knob by its name. "off" takes a limit away, or all entries of a list; several values are for lists only.
func (t *Throttle) Set(name string, values ...string) error {
	for _, s := range Settings() {
		if s.Name != name {
			continue
		}
		if len(values) > 1 && !s.many {
			return usage("%s has one value, not %d", name, len(values))
		}
		if s.many {
			t.clear(name)
		}
		for _, v := range values {
			if s.many && v == "off" {
				t.clear(name)
			} else if err := s.set(t, v); err != nil {
				return usage("%s=%s: %v", name, v, err)
			}
		}
		return nil
	}
	var names []string
	for _, s := range Settings() {
		names = append(names, s.Name)
	}
	return usage("there is no setting %q: expected one of %s", name, strings.Join(names, ", "))
}

func (t *Throttle) clear(list string) {
	switch list {
	case "throttle-query":
		t.Queries = nil
	case "throttle-prometheus":
		t.Prometheus = nil
	case "throttle-http":
		t.HTTP = nil
	case "throttle-file":
		t.Files = nil
	case "window":
		t.Window = nil
	case "cutover-window":
		t.CutoverWindow = nil
	}
}

func usage(format string, args ...any) error {
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(format, args...)}
}

func (t Throttle) validate() error {
	if t.Nice < 0 || t.Nice > 19 {
		return usage("Nice is %d: expected 0 to 19", t.Nice)
	}
	if t.MaxDisk > 1 {
		return usage("MaxDisk is %v: expected a share up to 1", t.MaxDisk)
	}
	return nil
}

func duration(field func(*Throttle) *time.Duration) func(*Throttle, string) error {
	return func(t *Throttle, v string) error {
		d, err := time.ParseDuration(v)
		switch {
		case v == "off":
			d = Off
		case err != nil || d <= 0:
			return fmt.Errorf("expected a duration such as 500ms, 3s or 10m, or off")
		}
		*field(t) = d
		return nil
	}
}

func number(field func(*Throttle) *int64) func(*Throttle, string) error {
	return func(t *Throttle, v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case v == "off":
			n = Off
		case err != nil || n <= 0:
			return fmt.Errorf("expected a whole number of 1 or more, or off")
		}
		*field(t) = n
		return nil
	}
}

func size(field func(*Throttle) *int64) func(*Throttle, string) error {
	return func(t *Throttle, v string) error {
		if v == "off" {
			*field(t) = Off
			return nil
		}
		n, err := ParseSize(v)
		if err != nil {
			return fmt.Errorf("%w, or off", err)
		}
		*field(t) = n
		return nil
	}
}

// ParseSize reads a number of bytes as the command line takes it: 500KB, 64MB or 2GB, in units of 1024.
func ParseSize(v string) (int64, error) {
	digits := strings.TrimRight(v, "KMGTiBkb ")
	unit, known := map[string]float64{"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(v[len(digits):]), "B"), "i"))]
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !known || !(n > 0) || n*unit > math.MaxInt64/2 {
		return 0, fmt.Errorf("expected a size such as 500KB, 64MB or 2GB, in units of 1024")
	}
	return int64(n * unit), nil
}

func percent(t *Throttle, v string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
	switch {
	case v == "off":
		n = 100 * Off
	case err != nil || !(n > 0 && n <= 100):
		return fmt.Errorf("expected a percentage such as 90%%, or off")
	}
	t.MaxDisk = n / 100
	return nil
}

func nice(t *Throttle, v string) error {
	n, err := strconv.Atoi(v)
	if v == "off" {
		n, err = 0, nil
	}
	if err != nil || n < 0 || n > 19 {
		return fmt.Errorf("expected 0 to 19")
	}
	t.Nice = n
	return nil
}

func query(list *[]Query, v string, remote bool) error {
	limit, text, ok := strings.Cut(v, ":")
	n, err := strconv.ParseFloat(strings.TrimSpace(limit), 64)
	q := Query{Limit: n, Text: strings.TrimSpace(text)}
	if remote {
		q.URL, q.Text, _ = strings.Cut(q.Text, " ")
		q.Text = strings.TrimSpace(q.Text)
		if err := address(new([]string), q.URL); err != nil {
			return err
		}
	}
	if !ok || err != nil || !(n > 0) || q.Text == "" {
		return fmt.Errorf("expected a limit above 0, a colon, and a query: '100: SELECT count(*) FROM due'")
	}
	*list = append(*list, q)
	return nil
}

func address(list *[]string, v string) error {
	if !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") {
		return fmt.Errorf("expected an address that begins with http:// or https://")
	}
	*list = append(*list, v)
	return nil
}

func window(list *throttle.Window, v string) error {
	c, err := throttle.ParseCron(v)
	if err != nil {
		return err
	}
	*list = append(*list, c)
	return nil
}

// overrides are settings that were made while a change runs, and count for all its runs from then on.
type overrides map[string][]string

func parseOverrides(text string) (overrides, error) {
	o := overrides{}
	if text == "" {
		return o, nil
	}
	err := json.Unmarshal([]byte(text), &o)
	return o, err
}

// with is a throttle with what was set meanwhile.
func (t Throttle) with(o overrides) (Throttle, error) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if err := t.Set(name, o[name]...); err != nil {
			return t, err
		}
	}
	return t, t.validate()
}
