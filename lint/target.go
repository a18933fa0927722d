package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// Target is the server that the files are for.
type Target struct {
	Kind    string // postgres, mysql or mariadb
	Version [3]int // 16.4 is {16, 4, -1}: what is not said is -1
}

// ParseTarget reads "postgres:16", "mysql:8.4" or "mariadb:10.11.6".
func ParseTarget(text string) (Target, error) {
	kind, version, ok := strings.Cut(strings.ToLower(text), ":")
	if kind == "postgresql" {
		kind = "postgres"
	}
	t := Target{Kind: kind, Version: [3]int{-1, -1, -1}}
	if !ok || !slices.Contains([]string{"postgres", "mysql", "mariadb"}, kind) {
		return t, fmt.Errorf("%q names no server: expected postgres:16, mysql:8.4, mariadb:10.11 or the like", text)
	}
	parts := strings.Split(version, ".")
	if len(parts) > 3 {
		return t, fmt.Errorf("the version %q has more than three parts", version)
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return t, fmt.Errorf("the version %q is no number: expected 16, 8.4 or 10.11.6", version)
		}
		t.Version[i] = n
	}
	oldest, needs := map[string]int{"postgres": 14, "mysql": 8, "mariadb": 10}[kind], 2
	if kind == "postgres" {
		needs = 1
	}
	switch {
	case t.Version[0] < oldest:
		return t, fmt.Errorf("%s is older than what the rules know: PostgreSQL 14, MySQL 8.0 and MariaDB 10.6 are the first", text)
	case t.Version[needs-1] < 0:
		return t, fmt.Errorf("%s does not say enough: expected %s:%d.4 or the like", text, kind, t.Version[0])
	case kind == "mariadb" && !t.since(10, 6):
		return t, fmt.Errorf("%s is older than what the rules know: MariaDB 10.6 is the first", text)
	}
	return t, nil
}

// String is the form that ParseTarget reads.
func (t Target) String() string {
	var parts []string
	for _, n := range t.Version {
		if n >= 0 {
			parts = append(parts, strconv.Itoa(n))
		}
	}
	return t.Kind + ":" + strings.Join(parts, ".")
}

func (t Target) postgres() bool { return t.Kind == "postgres" }
func (t Target) mysql() bool    { return t.Kind != "postgres" } // MariaDB too
func (t Target) maria() bool    { return t.Kind == "mariadb" }
func (t Target) oracle() bool   { return t.Kind == "mysql" }

// since says that the target is of a version or later. What is not said counts as the newest.
func (t Target) since(version ...int) bool {
	for i, n := range version {
		if t.Version[i] < 0 || t.Version[i] > n {
			return true
		}
		if t.Version[i] < n {
			return false
		}
	}
	return true
}

// said tells that the target has this very version, as far as it is given here, and says so itself.
func (t Target) between(from, upto [3]int) bool {
	return t.Version[2] >= 0 && slices.Compare(t.Version[:], from[:]) >= 0 && slices.Compare(t.Version[:], upto[:]) <= 0
}

// Syntax is how the target's statements are read.
func (t Target) Syntax() plan.Syntax { return t.syntax() }

func (t Target) syntax() plan.Syntax {
	if t.mysql() {
		return plan.MySQLSyntax()
	}
	return plan.PostgresSyntax()
}
