package migrate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// reader reads the files of a tree.
type reader struct {
	fsys    fs.FS
	options ReadOptions
	files   []string
	text    map[string]string
}

var (
	numbered   = regexp.MustCompile(`^([0-9]+)[_.-]?(.*)\.sql$`)
	upFile     = regexp.MustCompile(`^([0-9]+)_(.*)\.(up|down)\.sql$`)
	flywayFile = regexp.MustCompile(`^([VU])([0-9]+(?:[._][0-9]+)*)__(.*)\.sql$`)
	repeatable = regexp.MustCompile(`^R__(.*)\.sql$`)
	goFile     = regexp.MustCompile(`^([0-9]+)_(.*)\.go$`)
	marks      = map[Format]*regexp.Regexp{
		Goose:      regexp.MustCompile(`(?mi)^\s*--\s*\+goose\s+Up\b`),
		SQLMigrate: regexp.MustCompile(`(?mi)^\s*--\s*\+migrate\s+Up\b`),
	}
)

// recognise finds the format of a tree by what its files are called and what stands in them. Where that is two formats it
// is an error.
func (r *reader) recognise() (Format, error) {
	seen := map[Format]string{}
	for _, f := range r.files {
		base := path.Base(f)
		switch {
		case base == "atlas.sum":
			seen[Atlas] = f
		case upFile.MatchString(base):
			seen[GolangMigrate] = f
		case flywayFile.MatchString(base), repeatable.MatchString(base):
			seen[Flyway] = f
		case path.Ext(base) == ".sql":
			for format, mark := range marks {
				if mark.MatchString(r.text[f]) {
					seen[format] = f
				}
			}
		}
	}
	switch len(seen) {
	case 0:
		return Plain, nil
	case 1:
		return slices.Collect(maps.Keys(seen))[0], nil
	}
	var texts []string
	for _, f := range Formats() {
		if file, ok := seen[f]; ok {
			texts = append(texts, fmt.Sprintf("%s (%s)", f, file))
		}
	}
	return Auto, usage("the tree looks like %s: say which with --format; nothing was run", strings.Join(texts, " and like "))
}

func (r *reader) read(t *Tree) error {
	switch t.Format {
	case Goose, SQLMigrate:
		return r.annotated(t)
	case GolangMigrate:
		return r.pairs(t)
	case Flyway:
		return r.flyway(t)
	case Atlas:
		if err := r.atlasSum(); err != nil {
			return err
		}
		return r.single(t)
	case Plain:
		return r.single(t)
	}
	return usage("the format %q is unknown: expected one of %v", string(t.Format), Formats())
}

// flat are the files in the root, which is all that most tools read.
func (r *reader) flat(ext string) []string {
	var out []string
	for _, f := range r.files {
		if !strings.Contains(f, "/") && strings.HasSuffix(f, ext) {
			out = append(out, f)
		}
	}
	return out
}

// annotated reads files that hold both directions, with annotations between them.
func (r *reader) annotated(t *Tree) error {
	for _, f := range r.flat(".sql") {
		m := numbered.FindStringSubmatch(f)
		if m == nil {
			if t.Format == Goose {
				return usage("%s has no version: files of goose are called 00001_name.sql", f)
			}
			m = []string{f, f, f}
		}
		p := &parser{file: f, syntax: r.options.Syntax, mark: "+goose"}
		if t.Format == SQLMigrate {
			p.mark = "+migrate"
		}
		up, down, err := p.both(r.text[f])
		if err != nil {
			return err
		}
		one := &Migration{Version: trimZeros(m[1]), Name: m[2], Up: up, Down: down, Sum: sum(r.text[f], up.Statements, r.options.Syntax)}
		if t.Format == SQLMigrate {
			one.Version, one.Name = f, "" // its table knows migrations by their files
		}
		t.Migrations = append(t.Migrations, one)
	}
	return nil
}

// pairs reads 1_x.up.sql and 1_x.down.sql.
func (r *reader) pairs(t *Tree) error {
	byVersion := map[string]*Migration{}
	var downs []string
	for _, f := range r.flat(".sql") {
		m := upFile.FindStringSubmatch(f)
		switch {
		case m == nil:
			return usage("%s is neither 1_name.up.sql nor 1_name.down.sql", f)
		case m[3] == "down":
			downs = append(downs, f)
			continue
		}
		up, err := r.script(f)
		if err != nil {
			return err
		}
		one := &Migration{Version: trimZeros(m[1]), Name: m[2], Up: up, Sum: sum(r.text[f], up.Statements, r.options.Syntax)}
		if other := byVersion[one.Version]; other != nil {
			return usage("%s and %s have the same version %s: give one of them another; nothing was run", other.Up.File, f, one.Version)
		}
		byVersion[one.Version] = one
		t.Migrations = append(t.Migrations, one)
	}
	for _, f := range downs {
		m := upFile.FindStringSubmatch(f)
		up := byVersion[trimZeros(m[1])]
		if up == nil {
			return usage("%s leads back from a version that no file leads to: %s_….up.sql is missing", f, m[1])
		}
		down, err := r.script(f)
		if err != nil {
			return err
		}
		up.Down = &down
	}
	return nil
}

// flyway reads V, U and R files in all directories below the root.
func (r *reader) flyway(t *Tree) error {
	byVersion := map[string]*Migration{}
	var undos []string
	for _, f := range r.files {
		if path.Ext(f) != ".sql" {
			continue
		}
		base := path.Base(f)
		one := &Migration{}
		switch m := flywayFile.FindStringSubmatch(base); {
		case m != nil && m[1] == "U":
			undos = append(undos, f)
			continue
		case m != nil:
			one.Version, one.Name = trimZeros(strings.ReplaceAll(m[2], "_", ".")), strings.ReplaceAll(m[3], "_", " ")
			byVersion[one.Version] = one
		default:
			m := repeatable.FindStringSubmatch(base)
			if m == nil {
				return usage("%s is not called as Flyway wants it: V1__name.sql, U1__name.sql or R__name.sql", f)
			}
			one.Repeatable, one.Name = true, strings.ReplaceAll(m[1], "_", " ")
		}
		up, err := r.flywayScript(f)
		if err != nil {
			return err
		}
		one.Up, one.Sum = up, sum(r.text[f], up.Statements, r.options.Syntax)
		t.Migrations = append(t.Migrations, one)
	}
	for _, f := range undos {
		m := flywayFile.FindStringSubmatch(path.Base(f))
		up := byVersion[trimZeros(strings.ReplaceAll(m[2], "_", "."))]
		if up == nil {
			return usage("%s undoes a version that no file leads to", f)
		}
		down, err := r.flywayScript(f)
		if err != nil {
			return err
		}
		up.Down = &down
	}
	return nil
}

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// flywayScript puts the placeholders in, and reads the file's settings.
func (r *reader) flywayScript(f string) (Script, error) {
	var missing string
	text := placeholder.ReplaceAllStringFunc(r.text[f], func(s string) string {
		v, ok := r.options.Placeholders[s[2:len(s)-1]]
		if !ok {
			missing = s
		}
		return v
	})
	if missing != "" {
		return Script{}, usage("%s has the placeholder %s, which has no value: give it with --placeholder", f, missing)
	}
	p := &parser{file: f, syntax: r.options.Syntax}
	s, err := p.one(text)
	for line := range strings.Lines(r.text[f+".conf"]) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(key) == "executeInTransaction" && strings.TrimSpace(value) == "false" {
			s.Tx = TxNever
		}
	}
	return s, err
}

// single reads one file a version, without a way back.
func (r *reader) single(t *Tree) error {
	for _, f := range r.flat(".sql") {
		up, err := r.script(f)
		if err != nil {
			return err
		}
		one := &Migration{Version: f, Up: up, Sum: sum(r.text[f], up.Statements, r.options.Syntax)}
		if m := numbered.FindStringSubmatch(f); m != nil {
			one.Version, one.Name = trimZeros(m[1]), m[2]
		}
		t.Migrations = append(t.Migrations, one)
	}
	return nil
}

func (r *reader) script(f string) (Script, error) {
	p := &parser{file: f, syntax: r.options.Syntax, mark: "atlas:"}
	return p.one(r.text[f])
}

// atlasSum compares the files with atlas.sum: each line is the hash of all names and contents up to its file, the first
// one that of the others.
func (r *reader) atlasSum() error {
	want, ok := r.text["atlas.sum"]
	if !ok {
		return nil
	}
	h, lines := sha256.New(), sha256.New()
	var entries []string
	for _, f := range r.flat(".sql") {
		h.Write([]byte(f))
		h.Write([]byte(r.text[f]))
		entry := base64.StdEncoding.EncodeToString(h.Sum(nil))
		lines.Write([]byte(f))
		lines.Write([]byte(entry))
		entries = append(entries, f+" h1:"+entry)
	}
	got := append([]string{"h1:" + base64.StdEncoding.EncodeToString(lines.Sum(nil))}, entries...)
	have := strings.Split(strings.TrimSpace(strings.ReplaceAll(want, "\r\n", "\n")), "\n")
	if slices.Equal(got, have) {
		return nil
	}
	for i, line := range entries {
		if i+1 >= len(have) || have[i+1] != line {
			name, _, _ := strings.Cut(line, " ")
			return usage("atlas.sum does not fit the files, from %s on: a file was edited, added or taken away without it. Compare with what is released, then write it anew with `atlas migrate hash`; nothing was run", name)
		}
	}
	return usage("atlas.sum does not fit the files: it names others than there are; nothing was run")
}
