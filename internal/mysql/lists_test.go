package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/schema"
)

// TestListsBesideDDL: the list of files is read while tables with FULLTEXT indexes come and go, and the server lives. With InnoDB's own
// list of tables, of which the text of files warns, MySQL mostly does not: the long run of `make crash` shows it.
func TestListsBesideDDL(t *testing.T) {
	full := os.Getenv("CHANGELING_FULL") != ""
	mytest.Each(t, func(t *testing.T, version string) {
		maria := strings.HasPrefix(version, "mariadb")
		t.Run("files", func(t *testing.T) {
			while := 3 * time.Second
			if full {
				while = time.Minute
			}
			if err := besides(t, version, "SELECT "+numbersOfFiles+" FROM "+files(maria)+" i WHERE "+filesOf(schema.Name{Schema: "d0", Table: "t"}), while); err != nil {
				t.Error(err)
			}
		})
		if full && !maria {
			t.Run("tables", func(t *testing.T) {
				// Whether it comes down is chance: within ten seconds in five runs of six on a machine that does nothing else.
				err := besides(t, version, "SELECT COALESCE(MAX(table_id), 0) FROM information_schema.innodb_tables WHERE name = 'd0/t'", 2*time.Minute)
				t.Logf("the server came down: %t (%v)", err != nil, err)
			})
		}
	})
}

// besides asks a question over three connections while three others make and drop tables. It answers what broke the first of them.
func besides(t *testing.T, version, question string, while time.Duration) error {
	t.Helper()
	db := mytest.Open(t, mytest.Own(t, dbtest.MySQLOptions{Version: version}).DSN("mysql"))
	db.SetMaxOpenConns(10)
	var broke atomic.Pointer[error]
	var asked, made atomic.Int64
	end := time.Now().Add(while)
	on := func() bool { return broke.Load() == nil && time.Now().Before(end) }
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			for on() {
				for _, text := range []string{"DROP DATABASE IF EXISTS d%d", "CREATE DATABASE d%d", "CREATE TABLE d%d.t (id int PRIMARY KEY, b varchar(100), FULLTEXT (b))",
					"ALTER TABLE d%d.t DROP INDEX b", "ALTER TABLE d%d.t MODIFY id bigint, ALGORITHM=COPY", "TRUNCATE d%d.t", "DROP TABLE d%d.t"} {
					// They get into each other's way in the server's dictionary, which says nothing here.
					if _, err := db.Exec(fmt.Sprintf(text, i)); err != nil && fault.Lost(Coded(err)) {
						broke.CompareAndSwap(nil, &err)
					}
				}
				made.Add(1)
			}
		})
		all.Go(func() {
			for on() {
				var n int64
				if err := db.QueryRow(question).Scan(&n); err != nil {
					broke.CompareAndSwap(nil, &err)
				}
				asked.Add(1)
			}
		})
	}
	all.Wait()
	t.Logf("%d answers, %d tables made and dropped", asked.Load(), made.Load())
	if asked.Load() == 0 || made.Load() == 0 {
		t.Fatal("nothing was tried")
	}
	if err := broke.Load(); err != nil {
		return *err
	}
	return nil
}

// TestNoListOfTables: nothing here reads the lists with which MySQL comes down, see files.
func TestNoListOfTables(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, pattern := range []string{"*.go", "../../*.go", "../*/*.go", "../../*/*.go", "../../cmd/*/*.go"} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, list...)
	}
	lists := regexp.MustCompile(`(?i)innodb_(tables|columns|indexes|virtual|tablestats|cached_indexes|tablespaces|session_temp_tablespaces)\b`)
	read := 0
	for _, file := range texts {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		read++
		for i, line := range strings.Split(string(text), "\n") {
			if lists.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "//") {
				t.Errorf("%s:%d reads one of them: %s", file, i+1, strings.TrimSpace(line))
			}
		}
	}
	if read < 200 {
		t.Errorf("%d files were read", read)
	}
}
