package plan

import (
	"strings"
	"time"
)

// Cost is what a step is expected to take. It is an estimate from the table's size and a timed sample, for a person who has to choose an
// hour; a busy server takes longer, because the users' traffic wins.
type Cost struct {
	Read, Write int64 // bytes of table, indexes and key log; what the log of the server takes is about Write once more
	Time        time.Duration
}

// Speed is how fast a server reads a table, and writes one, in bytes a second.
type Speed struct{ Read, Write float64 }

// Costs are those of the steps, in their order. Steps that only change the catalogue cost nothing; what waits for others, a lock or a
// person, is not in it.
func (p *Plan) Costs(s Speed) []Cost {
	heap := p.Heap
	if heap == 0 {
		heap = p.Bytes
	}
	indexes := max(p.Bytes-heap, 0)
	builds := 0
	for _, step := range p.Steps {
		if step.Kind == Build {
			builds++
		}
	}
	out := make([]Cost, len(p.Steps))
	for i, step := range p.Steps {
		c := &out[i]
		rests := 1.0 // copies rest as long as they work
		switch {
		case step.Kind == Copy, step.Kind == Fill:
			c.Read, c.Write, rests = heap, heap, 2
		case step.Kind == Data:
			c.Read, rests = heap, 2
		case step.Kind == Build:
			c.Read, c.Write = heap, indexes/int64(builds)
		case step.Kind == Verify:
			c.Read, rests = 2*heap, 2
		case step.Kind == Loose && strings.Contains(step.Name, "vacuum"):
			c.Read = heap
		case step.Kind == Loose && step.Done != "" && len(step.SQL) > 0 && (strings.HasPrefix(step.SQL[0], "CREATE ") || strings.HasPrefix(step.SQL[0], "REINDEX ")):
			c.Read, c.Write = 2*heap, heap/4
		case step.Kind == Exec && strings.Contains(strings.Join(step.SQL, " "), "VALIDATE CONSTRAINT"), step.Kind == Ask:
			c.Read = heap
		case step.Kind == Exec && p.Route == Direct && p.Effect == "scan":
			c.Read = heap
		case step.Kind == Exec && p.Route == Direct && p.Effect == "rewrite":
			c.Read, c.Write = heap, p.Bytes
		}
		if s.Read > 0 && s.Write > 0 {
			c.Time = time.Duration(rests * (float64(c.Read)/s.Read + float64(c.Write)/s.Write) * float64(time.Second))
		}
	}
	return out
}

// Stays is what the change leaves behind that the statement alone would not, for a person.
func (p *Plan) Stays() []string {
	var out []string
	switch {
	case p.Covers():
		out = append(out, "a view under the old name, "+p.Pair.Old.String()+", until `changeling cleanup` drops it. Through it code reads and writes, but for TRUNCATE, COPY … FROM, ON CONFLICT ON CONSTRAINT and DDL, which name the table")
	case p.Find(Drop) >= 0:
		out = append(out, "the old table, as "+p.Pair.Old.String()+", until its time has come and `changeling cleanup` drops it")
	}
	if p.Find(Fill) >= 0 {
		out = append(out, "the space of the rows' old versions: new rows use it, the disk does not get it back")
	}
	if p.Route == Direct && strings.Contains(strings.ToUpper(p.Statement), "DROP COLUMN") {
		out = append(out, "the space of the dropped column, in each row until it is written again")
	}
	return out
}
