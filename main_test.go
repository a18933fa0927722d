package changeling_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		if err := beChild(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(mytest.Around(m))
}
