package backfill

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/changeling-db/changeling/throttle"
)

// CopyColumn is the job that fills a column from an expression over the same row, such as amount * 100. It touches only rows in
// which the two differ, so it may run twice, and it ends with a look for such rows: none should be left.
func (j *Jobs) CopyColumn(table, assignment string) (Job, error) {
	column, expr, ok := strings.Cut(assignment, "=")
	column, expr = strings.TrimSpace(column), strings.TrimSpace(expr)
	if !ok || expr == "" || !simple.MatchString(column) {
		return Job{}, usage("%q is no assignment to a column: expected one such as cents = amount * 100", assignment)
	}
	differ := column + " IS DISTINCT FROM (" + expr + ")"
	if j.mysql {
		differ = "NOT (" + column + " <=> (" + expr + "))"
	}
	job := Job{Table: table, Set: column + " = (" + expr + ")", Where: differ, Left: differ}
	return job, j.check(job)
}

var (
	simple    = regexp.MustCompile("^(\\w+|\"[^\"]+\"|`[^`]+`)$")
	reference = regexp.MustCompile(`(?is)^\(?([^()]+?)\)?\s+REFERENCES\s+(\S+?)\s*\(([^()]+)\)$`)
)

// Orphans is the job that deletes rows whose parent is not there, before a foreign key is made, say. The reference is written
// as in SQL: customer_id REFERENCES customers (id), or (a, b) REFERENCES parents (x, y). Rows with a NULL in it have no parent to miss.
func (j *Jobs) Orphans(table, text string) (Job, error) {
	m := reference.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return Job{}, usage("%q is no reference: expected one such as customer_id REFERENCES customers (id)", text)
	}
	own, theirs := words(m[1]), words(m[3])
	if len(own) != len(theirs) {
		return Job{}, usage("%q has %d columns on one side and %d on the other", text, len(own), len(theirs))
	}
	child, name, err := j.quoted(table)
	if err != nil {
		return Job{}, err
	}
	parent, parentName, err := j.quoted(m[2])
	if err != nil {
		return Job{}, err
	}
	if j.mysql && name == parentName {
		return Job{}, usage("table %s refers to itself, and the server does not delete from a table that it looks up: copy the keys of the orphans to a table of their own first", table)
	}
	child = child[strings.LastIndex(child, ".")+1:]
	var there, set []string
	for i, column := range own {
		if !simple.MatchString(column) || !simple.MatchString(theirs[i]) {
			return Job{}, usage("%q: %s and %s are to be names of columns", text, column, theirs[i])
		}
		set = append(set, child+"."+column+" IS NOT NULL")
		there = append(there, "changeling_parent."+theirs[i]+" = "+child+"."+column)
	}
	where := fmt.Sprintf("%s AND NOT EXISTS (SELECT 1 FROM %s changeling_parent WHERE %s)", strings.Join(set, " AND "), parent, strings.Join(there, " AND "))
	job := Job{Table: table, Delete: true, Where: where, Left: where}
	return job, j.check(job)
}

func words(list string) (out []string) {
	for word := range strings.SplitSeq(list, ",") {
		out = append(out, strings.TrimSpace(word))
	}
	return out
}

// schedule reads a schedule. Workers stand in many places, so its clock is UTC unless it names another.
func schedule(text string) (throttle.Cron, error) {
	if !strings.Contains(text, "TZ=") {
		text = "TZ=UTC " + text
	}
	c, err := throttle.ParseCron(text)
	if err != nil {
		return c, usage("the schedule: %v", err)
	}
	return c, nil
}

// due says whether a job with a schedule is to begin anew: one of its minutes has come since it ended, or was made. It is
// the server's clock that counts.
func (s *Status) due() bool {
	c, err := schedule(s.Job.Schedule)
	if err != nil || s.Status == "running" {
		return err == nil // a run that was left goes on at once
	}
	next, ok := c.Next(s.changed)
	return ok && !next.After(s.now)
}

// Next is when a job with a schedule begins anew; zero: it has none, or that is over.
func (s *Status) Next() time.Time {
	if s.Job.Schedule == "" || s.Status == "cancelled" {
		return time.Time{}
	}
	c, err := schedule(s.Job.Schedule)
	if err != nil {
		return time.Time{}
	}
	next, _ := c.Next(s.changed)
	return next
}
