package main

import (
	"regexp"
	"testing"

	"github.com/changeling-db/changeling/internal/sample"
)

// TestDemo shows it on each kind of server, smaller than by default.
func TestDemo(t *testing.T) {
	t.Parallel()
	for _, kind := range sample.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := &shell{t: t}
			r := s.run(0, "demo", "--db", kind, "--rows", "5000", "--rate", "100")
			for _, line := range []string{`rows copied +[1-9]`, `rows verified +[1-9]`, `lock held +[0-9.]+ ms`, `acknowledged writes +[1-9][0-9]{2}`, `statements failed +0\n`, `writes lost +0\n`} {
				if !regexp.MustCompile(line).MatchString(r.stdout) {
					t.Errorf("nothing says %q in:\n%s", line, r.stdout)
				}
			}
		})
	}
	s := &shell{t: t}
	s.run(2, "demo", "--db", "oracle")
	s.run(2, "demo", "--rows", "1")
}
