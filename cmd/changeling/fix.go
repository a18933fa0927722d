package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/lint"
)

// rounds bounds how often files are judged again: a fix may bring about another one, as a wider key does at those that refer to it.
const rounds = 20

// fixed are the files with everything rewritten that other words mend, and how many findings that answers.
func (l *linting) fixed(files []judged, o lint.Options) ([]judged, int, error) {
	out, total := slices.Clone(files), 0
	for range rounds {
		found, _, err := l.check(out, o)
		if err != nil {
			return nil, 0, err
		}
		n := 0
		for i := range out {
			name := filepath.ToSlash(out[i].file)
			var done []lint.Finding
			out[i].text, done = lint.Fix(out[i].text, slices.DeleteFunc(slices.Clone(found), func(f lint.Finding) bool { return f.File != name }))
			n += len(done)
		}
		if n == 0 {
			break
		}
		total += n
	}
	return out, total, nil
}

// rewrite writes the fixed files, and leaves their texts in the list.
func (l *linting) rewrite(a *app, files []judged, o lint.Options) error {
	after, n, err := l.fixed(files, o)
	if err != nil {
		return err
	}
	for i := range files {
		if files[i].text == after[i].text {
			continue
		}
		if err := replaceFile(files[i].file, after[i].text); err != nil {
			return usage("%v", err)
		}
		fmt.Fprintf(a.err, "rewrote %s\n", clean(files[i].file))
		files[i].text = after[i].text
	}
	fmt.Fprintf(a.err, "%d findings were fixed\n", n)
	return nil
}

// differ prints what rewrite would do.
func (l *linting) differ(a *app, files []judged, o lint.Options) error {
	after, n, err := l.fixed(files, o)
	if err != nil {
		return err
	}
	for i := range files {
		a.printf("%s", unified(filepath.ToSlash(files[i].file), files[i].text, after[i].text))
	}
	if n > 0 {
		return ended(10)
	}
	return nil
}

// replaceFile writes a file beside another one and puts it in its place, so that neither is ever half there.
func replaceFile(name, text string) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone, if all went well
	_, err = f.WriteString(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(f.Name(), info.Mode().Perm())
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// around is how many lines a patch shows before and behind what differs.
const around = 3

// change is a run of lines that differ: those from..to of the old text, and those of the new one.
type change struct{ from, to, newFrom, newTo int }

// unified is the difference of two texts as a patch; empty if there is none.
func unified(name, before, after string) string {
	if before == after {
		return ""
	}
	old, now := slices.Collect(strings.Lines(before)), slices.Collect(strings.Lines(after))
	var b strings.Builder
	fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", name, name)
	all := changes(old, now)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].from-all[n-1].to <= 2*around {
			n++
		}
		hunk(&b, old, now, all[:n])
		all = all[n:]
	}
	return b.String()
}

func hunk(b *strings.Builder, old, now []string, these []change) {
	first, last := these[0], these[len(these)-1]
	lead, trail := min(around, first.from), min(around, len(old)-last.to)
	side := func(from, n int) string {
		if n == 0 {
			return fmt.Sprintf("%d,0", from)
		}
		return fmt.Sprintf("%d,%d", from+1, n)
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", side(first.from-lead, last.to-first.from+lead+trail), side(first.newFrom-lead, last.newTo-first.newFrom+lead+trail))
	put := func(sign string, lines []string) {
		for _, line := range lines {
			b.WriteString(sign + line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	at := first.from - lead
	for _, c := range these {
		put(" ", old[at:c.from])
		put("-", old[c.from:c.to])
		put("+", now[c.newFrom:c.newTo])
		at = c.to
	}
	put(" ", old[at:at+trail])
}

// changes finds the runs of lines that differ, by the shortest way from one text to the other (Myers 1986, the greedy algorithm).
func changes(old, now []string) []change {
	best := map[int]int{1: 0} // the farthest line of old that is reached, for each difference of the two positions
	var trace []map[int]int
	for d := 0; ; d++ {
		step := map[int]int{}
		for k, x := range best {
			step[k] = x
		}
		trace = append(trace, step)
		for k := -d; k <= d; k += 2 {
			x := best[k-1] + 1
			if k == -d || k != d && best[k-1] < best[k+1] {
				x = best[k+1]
			}
			for x < len(old) && x-k < len(now) && old[x] == now[x-k] {
				x++
			}
			if best[k] = x; x >= len(old) && x-k >= len(now) {
				return walkBack(trace, len(old), len(now))
			}
		}
	}
}

// walkBack follows the way to its beginning, and joins steps that stand together.
func walkBack(trace []map[int]int, x, y int) (out []change) {
	for d := len(trace) - 1; d > 0; d-- {
		best, k := trace[d], x-y
		was := k - 1
		if k == -d || k != d && best[k-1] < best[k+1] {
			was = k + 1
		}
		fromX := best[was]
		fromY := fromX - was
		c := change{fromX, fromX + 1, fromY, fromY}
		if was == k+1 {
			c = change{fromX, fromX, fromY, fromY + 1}
		}
		if n := len(out); n > 0 && out[n-1].from == c.to && out[n-1].newFrom == c.newTo {
			out[n-1].from, out[n-1].newFrom = c.from, c.newFrom
		} else {
			out = append(out, c)
		}
		x, y = fromX, fromY
	}
	slices.Reverse(out)
	return out
}
