package migrate

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// File is one file of a new migration.
type File struct{ Name, Body string }

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// NewFiles are the files of a new migration, as the format of a tree wants them: with the next number where versions are
// small numbers, and the time of now, in UTC, where they are times or there are none.
func NewFiles(t *Tree, name string, now time.Time) ([]File, error) {
	name = strings.Trim(notName.ReplaceAllString(strings.ToLower(name), "_"), "_")
	if name == "" {
		return nil, usage("the new migration has no name: expected words such as add_users")
	}
	version := now.UTC().Format("20060102150405")
	head := t.Head()
	if t.Format == SQLMigrate {
		head = head[:digits(head)]
	}
	if n, err := strconv.ParseInt(head, 10, 64); err == nil && n < 19000101 {
		version = fmt.Sprintf("%0*d", width(t), n+1)
	}
	switch t.Format {
	case Goose:
		return []File{{version + "_" + name + ".sql", "-- +goose Up\n\n-- +goose Down\n"}}, nil
	case SQLMigrate:
		return []File{{version + "-" + name + ".sql", "-- +migrate Up\n\n-- +migrate Down\n"}}, nil
	case GolangMigrate:
		return []File{{version + "_" + name + ".up.sql", ""}, {version + "_" + name + ".down.sql", ""}}, nil
	case Flyway:
		return []File{{"V" + strings.TrimLeft(version, "0") + "__" + name + ".sql", ""}}, nil
	}
	return []File{{version + "_" + name + ".sql", ""}}, nil
}

// width is how many digits the versions of a tree are written with.
func width(t *Tree) int {
	for i := len(t.Migrations) - 1; i >= 0; i-- {
		f := t.Migrations[i].Up.File
		if n := digits(f); n > 0 {
			return n
		}
	}
	return 5
}
