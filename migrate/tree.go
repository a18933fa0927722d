package migrate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

// Format is the tool that a tree was written for.
type Format string

// The formats. Auto recognises the tree by its files.
const (
	Auto          Format = ""
	Goose         Format = "goose"          // -- +goose Up and Down in one file
	GolangMigrate Format = "golang-migrate" // 1_x.up.sql and 1_x.down.sql
	SQLMigrate    Format = "sql-migrate"    // -- +migrate Up and Down in one file
	Flyway        Format = "flyway"         // V1__x.sql, U1__x.sql and the repeatable R__x.sql
	Atlas         Format = "atlas"          // 20240101_x.sql and atlas.sum
	Plain         Format = "plain"          // 1_x.sql
)

// Formats are all formats, in the order in which they are recognised.
func Formats() []Format { return []Format{Atlas, GolangMigrate, Flyway, Goose, SQLMigrate, Plain} }

// TxMode says what a file says about transactions.
type TxMode string

// The modes. TxAuto is one transaction where all statements allow it.
const (
	TxAuto   TxMode = ""
	TxNever  TxMode = "never"
	TxAlways TxMode = "always"
)

// Script is one direction of a migration.
type Script struct {
	File       string
	Statements []Statement
	Tx         TxMode
	// Require and Ensure are queries that must answer a true value before the script starts and when it has ended.
	Require, Ensure []string
	// Stop says that the script must be the last one of a run: something outside has to happen before the next.
	Stop string
	// Replaces are the versions, its own among them, whose files it was made of; see Squash.
	Replaces []string
	// Ignore are the rules that a linter leaves alone in all of it, each with the reason.
	Ignore []string
}

// Sum identifies the content of a migration.
type Sum struct {
	Exact  string // SHA-256 of the file
	Normal string // of the statements that go up, without comments and white space between their words
	Lines  int32  // the checksum that Flyway gives to it
}

// Migration is one version of a tree.
type Migration struct {
	Version string // as the format has it, without leading zeros: "1", "20240101120000", "1.2", "1_init.sql"
	Name    string
	Up      Script
	Down    *Script // nil: there is no way back
	Sum     Sum
	// Repeatable migrations have no version: they run again when they change, after all others.
	Repeatable bool
	// Go and GoDown are set for a migration that is a function of the program.
	Go, GoDown GoFunc
}

// ID is what the migration is known by: its version, or the name of one that has none.
func (m *Migration) ID() string {
	if m.Repeatable {
		return "R:" + m.Name
	}
	return m.Version
}

// String names a migration for a person.
func (m *Migration) String() string {
	if m.Repeatable {
		return "repeatable " + m.Name
	}
	if m.Name == "" || m.Version == m.Up.File {
		return m.Version
	}
	return m.Version + " " + m.Name
}

// Tree is all migrations of a directory, in the order in which they run. The order is total: every two versions compare.
type Tree struct {
	Format     Format
	Migrations []*Migration
}

// Head is the newest version, empty for an empty tree.
func (t *Tree) Head() string {
	for _, m := range slices.Backward(t.Migrations) {
		if !m.Repeatable {
			return m.Version
		}
	}
	return ""
}

// Find is the migration with an ID, or nil.
func (t *Tree) Find(id string) *Migration {
	for _, m := range t.Migrations {
		if m.ID() == id {
			return m
		}
	}
	return nil
}

// Resolve finds the version that a person means: the whole of it, or a part at its beginning that no other has (S2).
func (t *Tree) Resolve(text string) (string, error) {
	if text == "" || text == "head" || text == "latest" {
		return t.Head(), nil
	}
	want := trimZeros(text)
	var found []string
	for _, m := range t.Migrations {
		switch {
		case m.Repeatable:
		case m.Version == want || m.Version == text:
			return m.Version, nil
		case strings.HasPrefix(m.Version, want) || strings.HasPrefix(m.Version, text) || strings.HasPrefix(m.Name, text):
			found = append(found, m.Version)
		}
	}
	switch len(found) {
	case 0:
		return "", usage("there is no version %q in the files: the newest one is %q", text, t.Head())
	case 1:
		return found[0], nil
	}
	return "", usage("%q may be any of the versions %s: write more of it", text, strings.Join(found, ", "))
}

// ReadOptions say how a tree is read.
type ReadOptions struct {
	Format Format
	Syntax plan.Syntax
	// Placeholders are the values of ${name} in files of Flyway.
	Placeholders map[string]string
	// Go are the migrations that are functions, by version.
	Go map[string]GoMigration
}

// Read reads the tree in the root of fsys. Errors are of kind changeling.ErrUsage and name file and line.
func Read(fsys fs.FS, o ReadOptions) (*Tree, error) {
	files, err := list(fsys)
	if err != nil {
		return nil, err
	}
	r := &reader{fsys: fsys, options: o, files: files, text: map[string]string{}}
	for _, f := range files {
		body, err := fs.ReadFile(fsys, f)
		if err != nil {
			return nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%s cannot be read: %v", f, err)}
		}
		r.text[f] = string(body)
	}
	format := o.Format
	if format == Auto {
		if format, err = r.recognise(); err != nil {
			return nil, err
		}
	}
	t := &Tree{Format: format}
	if err := r.read(t); err != nil {
		return nil, err
	}
	if err := t.functions(files, o.Go); err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.Migrations, order)
	return t, t.unique()
}

// list is every file below the root, but for hidden ones.
func list(fsys fs.FS) (files []string, err error) {
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") && p != "." {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if e := path.Ext(p); e == ".sql" || e == ".sum" || e == ".go" || strings.HasSuffix(p, ".sql.conf") {
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("the directory of migrations cannot be read: %v", err)}
	}
	return files, nil
}

// order is the order in which migrations run: versions first, then the repeatable ones by name.
func order(a, b *Migration) int {
	switch {
	case a.Repeatable && b.Repeatable:
		return strings.Compare(a.Name, b.Name)
	case a.Repeatable:
		return 1
	case b.Repeatable:
		return -1
	}
	return compare(a.Version, b.Version)
}

// compare orders versions: digits by their number, all else by its bytes. So 2 comes before 10, 1.2 before 1.10.
func compare(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x > 0 && y > 0 {
			n, m := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
			if c := cmp.Or(cmp.Compare(len(n), len(m)), strings.Compare(n, m)); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// trimZeros writes a version that is a number, or numbers with dots, in one way only.
func trimZeros(v string) string {
	if v == "" || strings.Trim(v, "0123456789.") != "" {
		return v
	}
	parts := strings.Split(v, ".")
	for i, p := range parts {
		if parts[i] = strings.TrimLeft(p, "0"); parts[i] == "" {
			parts[i] = "0"
		}
	}
	return strings.Join(parts, ".")
}

// unique refuses two files of one version: which one runs would be chance.
func (t *Tree) unique() error {
	for i := 1; i < len(t.Migrations); i++ {
		a, b := t.Migrations[i-1], t.Migrations[i]
		if a.ID() == b.ID() {
			return usage("%s and %s have the same version %s: give one of them another; nothing was run", a.Up.File, b.Up.File, a.ID())
		}
	}
	return nil
}

// sum takes the checksums of a file and of the statements in it.
func sum(file string, up []Statement, s plan.Syntax) Sum {
	exact := sha256.Sum256([]byte(file))
	h := sha256.New()
	for _, st := range up {
		h.Write([]byte(st.marked(s)))
		h.Write([]byte{0})
	}
	return Sum{Exact: hex.EncodeToString(exact[:]), Normal: hex.EncodeToString(h.Sum(nil)), Lines: lineSum(file)}
}

// normal is a statement's words with one space between them.
func normal(text string, s plan.Syntax) string {
	tokens, _ := plan.Lex(text, s) // it was cut out of a text that could be read
	var b strings.Builder
	for _, t := range tokens {
		if t.Kind != plan.TokenSpace && t.Kind != plan.TokenComment {
			b.WriteString(text[t.Start:t.End])
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// lineSum is the CRC-32 over the lines of a file without their ends, as Flyway notes it.
func lineSum(file string) int32 {
	file = strings.TrimPrefix(file, "\ufeff")
	crc := uint32(0)
	for line := range strings.Lines(file) {
		crc = crc32.Update(crc, crc32.IEEETable, []byte(strings.TrimRight(line, "\r\n")))
	}
	return int32(crc)
}

func usage(format string, args ...any) error {
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(format, args...)}
}
