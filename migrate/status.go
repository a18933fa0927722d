package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
)

// State is where a database stands against a tree.
type State string

// The states, the gravest first. Each has an error of its own, see ErrBehind and the others; Current is none.
const (
	StateFailed  State = "failed"  // a migration failed, or was left in the middle
	StateEdited  State = "edited"  // a file says something else than what ran
	StateUnknown State = "unknown" // a version was applied that the files do not know
	StateAhead   State = "ahead"   // the same, and it is newer than all of them
	StateBehind  State = "behind"  // there is work to do
	StateCurrent State = "current"
)

// Status is where a database stands. Its JSON form is a contract: fields are added, never changed.
type Status struct {
	Tree       string   `json:"tree"`
	Format     Format   `json:"format"`
	State      State    `json:"state"`
	Message    string   `json:"message"`
	Current    string   `json:"current"` // newest version that is done; empty: none
	Head       string   `json:"head"`    // newest version of the files
	Pending    []string `json:"pending"`
	OutOfOrder []string `json:"out_of_order"` // those of them that are below Current
	Waiting    []string `json:"waiting"`      // those of them whose next phase waits for a deploy
	Owner      string   `json:"owner"`        // the instance that runs migrations now; empty: none
	Foreign    string   `json:"foreign"`      // another tool's version table that could be adopted; empty: none
	Migrations []Line   `json:"migrations"`
}

// Line is one migration of a Status.
type Line struct {
	Version    string        `json:"version"`
	Name       string        `json:"name"`
	Status     string        `json:"status"` // pending, running, failed, applied, baseline, background, waiting
	Origin     string        `json:"origin"` // the tool's table that it was taken over from
	By         string        `json:"by"`
	At         *time.Time    `json:"at"`
	Took       time.Duration `json:"took_ns"`
	Error      string        `json:"error"`
	Edited     bool          `json:"edited"`      // the file says something else than what ran
	Reformated bool          `json:"reformatted"` // it says the same in another form
	InFiles    bool          `json:"in_files"`
}

// Status asks where the database stands. It changes nothing, and waits for nobody.
func (m *Migrator) Status(ctx context.Context) (*Status, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close() // nothing is in flight any more
	return s.status(ctx)
}

func (s *session) status(ctx context.Context) (*Status, error) {
	there, err := s.store.Exists(ctx)
	if err != nil {
		return nil, err
	}
	var rows []*journal.Row
	owner := ""
	if there {
		if rows, err = s.store.Rows(ctx, s.db); err != nil {
			return nil, err
		}
		if owner, err = s.store.Owner(ctx); err != nil {
			return nil, err
		}
	}
	st := examine(s.tree, rows, owner)
	st.Tree = s.store.Tree
	if len(rows) == 0 {
		f, err := s.foreign(ctx)
		if err != nil {
			return nil, err
		}
		if f != nil {
			st.Foreign = f.table
			st.Message += "; the database has the table " + f.table + " of " + f.tool + ": `changeling migrate adopt` takes it over"
		}
	}
	return st, nil
}

// examine compares a tree with what the database knows. What an owner is at work on was not left in the middle.
func examine(t *Tree, rows []*journal.Row, owner string) *Status {
	st := &Status{Owner: owner, Format: t.Format, Head: t.Head(), Pending: []string{}, OutOfOrder: []string{}, Waiting: []string{}, Migrations: []Line{}}
	known := map[string]*journal.Row{}
	for _, r := range rows {
		known[r.Version] = r
		if (r.Status.Over() || r.Status == journal.Background || r.Status == journal.Waiting) && !strings.HasPrefix(r.Version, "R:") && (st.Current == "" || compare(r.Version, st.Current) > 0) {
			st.Current = r.Version
		}
	}
	var failed, edited, strangers, stranded []string
	for _, m := range t.Migrations {
		r := known[m.ID()]
		apart, below := replaced(m, known)
		stranded = append(stranded, below...)
		delete(known, m.ID())
		l := line(m, r)
		if apart { // the sum is that of the last of them
			l.Edited, l.Reformated = false, false
		}
		switch {
		case r == nil, m.Repeatable && l.Edited:
			st.Pending = append(st.Pending, m.ID())
			l.Edited = false
			if r == nil && !m.Repeatable && st.Current != "" && compare(m.Version, st.Current) < 0 {
				st.OutOfOrder = append(st.OutOfOrder, m.Version)
			}
		case r.Status == journal.Running && owner != "":
			st.Pending = append(st.Pending, m.ID())
		case r.Status == journal.Failed || r.Status == journal.Running:
			failed = append(failed, m.String())
			st.Pending = append(st.Pending, m.ID())
		case r.Status == journal.Background:
			st.Pending = append(st.Pending, m.ID())
		case r.Status == journal.Waiting:
			st.Pending, st.Waiting = append(st.Pending, m.ID()), append(st.Waiting, m.ID())
		case l.Edited:
			edited = append(edited, m.String())
		}
		st.Migrations = append(st.Migrations, l)
	}
	for _, r := range rows {
		if known[r.Version] == nil {
			continue
		}
		l := line(&Migration{Version: r.Version, Name: r.Name}, r)
		l.InFiles, l.Edited, l.Reformated = false, false, false
		st.Migrations = append(st.Migrations, l)
		if strings.HasPrefix(r.Version, "R:") {
			continue // a view that nobody defines any more is no version
		}
		strangers = append(strangers, r.Version)
	}
	slices.SortFunc(strangers, compare)
	st.judge(failed, edited, strangers)
	if len(stranded) > 0 && st.State != StateFailed {
		st.State = StateUnknown
		st.Message = fmt.Sprintf("the database has %s, whose files were squashed into a later version that it does not have: upgrade it with a release that still has them first", strings.Join(stranded, ", "))
	}
	return st
}

func line(m *Migration, r *journal.Row) Line {
	l := Line{Version: m.ID(), Name: m.Name, Status: "pending", InFiles: true}
	if r == nil {
		return l
	}
	l.Status, l.Origin, l.By, l.Took, l.Error = string(r.Status), r.Origin, r.By, r.Took, r.Error
	if at := r.Finished; !at.IsZero() {
		l.At = &at
	}
	l.Edited = r.Status == journal.Applied && r.Normal != "" && r.Normal != m.Sum.Normal
	l.Reformated = !l.Edited && r.Status == journal.Applied && r.Exact != "" && r.Exact != m.Sum.Exact
	return l
}

// judge says the state in a word and in a sentence.
func (st *Status) judge(failed, edited, strangers []string) {
	list := func(all []string) string { return strings.Join(all, ", ") }
	switch {
	case len(failed) > 0:
		st.State = StateFailed
		st.Message = fmt.Sprintf("migration %s failed or was left in the middle: `changeling migrate up` goes on with it", list(failed))
	case len(edited) > 0:
		st.State = StateEdited
		st.Message = fmt.Sprintf("the file of migration %s says something else than what ran: put it back, or accept it with `changeling migrate repair`", list(edited))
	case len(strangers) > 0 && (st.Head == "" || compare(strangers[0], st.Head) > 0):
		st.State = StateAhead
		st.Message = fmt.Sprintf("the database is ahead: it has %s, and the newest version of the files is %q", list(strangers), st.Head)
	case len(strangers) > 0:
		st.State = StateUnknown
		st.Message = fmt.Sprintf("the database has %s, which the files do not know, below their newest version %s: this is another branch's tree, or a file was taken away", list(strangers), st.Head)
	case len(st.Pending) > 0:
		st.State = StateBehind
		st.Message = fmt.Sprintf("%d to apply, up to %s", len(st.Pending), st.Head)
		if len(st.Waiting) > 0 {
			st.Message += fmt.Sprintf("; the next phase of %s waits for a deploy", list(st.Waiting))
		}
		if len(st.OutOfOrder) > 0 {
			st.Message += fmt.Sprintf("; %s is missing below the newest version that was applied", list(st.OutOfOrder))
		}
	default:
		st.State = StateCurrent
		st.Message = fmt.Sprintf("current at %q", st.Current)
	}
}

// Err is the state as an error; nil for StateCurrent.
func (st *Status) Err() error {
	kind := fault.Unexpected
	switch st.State {
	case StateCurrent:
		return nil
	case StateFailed:
		kind = fault.Broken
	case StateEdited:
		kind = fault.Edited
	case StateUnknown:
		kind = fault.Strange
	case StateAhead:
		kind = fault.Ahead
	case StateBehind:
		kind = fault.Behind
	}
	return &fault.Problem{Kind: kind, Text: st.Message}
}

// History is what happened to the tree, the newest first.
func (m *Migrator) History(ctx context.Context) ([]journal.Entry, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close() // nothing is in flight any more
	there, err := s.store.Exists(ctx)
	if err != nil || !there {
		return nil, err
	}
	return s.store.History(ctx)
}

// Require says whether a version, and all before it, is applied: for the start of an application (O13). An empty version is
// the newest of the files. The error is of a state's kind, such as ErrBehind.
func (m *Migrator) Require(ctx context.Context, version string) error {
	s, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer s.close() // nothing is in flight any more
	return s.require(ctx, version)
}

func (s *session) require(ctx context.Context, version string) error {
	want, err := s.tree.Resolve(version)
	if err != nil {
		return err
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	missing := 0
	for _, id := range st.Pending {
		if slices.Contains(st.Waiting, id) {
			continue // what new code needs of it is there
		}
		if !strings.HasPrefix(id, "R:") && compare(id, want) <= 0 || version == "" {
			missing++
		}
	}
	switch {
	case missing > 0 && st.State != StateFailed:
		return &fault.Problem{Kind: fault.Behind, Text: fmt.Sprintf("version %s is needed, and %d up to it are missing: the database is at %q", want, missing, st.Current)}
	case missing > 0:
		return st.Err()
	}
	return nil
}

// Wait returns when a version, and all before it, is applied by whoever applies it: for an init container. It changes nothing.
// It ends with ctx, or with an error that waiting does not cure.
func (m *Migrator) Wait(ctx context.Context, version string) error {
	// Where the time ends between a question and its answer, what was seen before says more.
	vain := func(seen error) error {
		return &fault.Problem{Kind: fault.Behind, Err: seen, Text: "waited in vain: " + seen.Error()}
	}
	s, err := m.open(ctx)
	if err != nil && ctx.Err() != nil {
		return vain(err)
	}
	if err != nil {
		return err
	}
	defer s.close() // nothing is in flight any more
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for seen := error(nil); ; {
		err := s.require(ctx, version)
		k := fault.KindOf(err)
		if err != nil && k != fault.Behind && ctx.Err() != nil {
			return vain(cmp.Or(seen, err))
		}
		seen = err
		if err == nil || k != fault.Behind && k != fault.Broken && !fault.Transient(err) && !fault.Lost(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return vain(err)
		case <-tick.C:
		}
	}
}
