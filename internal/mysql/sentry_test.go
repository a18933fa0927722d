package mysql

import (
	"testing"

	"github.com/changeling-db/changeling/schema"
)

func TestContends(t *testing.T) {
	t.Parallel()
	p := schema.Pair{Source: schema.Name{Schema: "shop", Table: "orders"}}
	for _, c := range []struct {
		statement, database string
		runs, waits         bool // whether it counts
	}{
		{"UPDATE orders SET a = 1", "shop", false, false},
		{"  /* from the app */ (SELECT 1 FROM orders) UNION SELECT 'it''s cut o", "shop", false, false},
		{"-- a comment\n# and another\nDELETE FROM orders", "shop", false, false},
		{"TRUNCATE orders", "shop", true, true},
		{"/* why */ truncate TABLE `ORDERS`", "shop", true, true},
		{"TRUNCATE TABLE shop . orders", "other", true, true},
		{"TRUNCATE orders", "other", false, false},
		{"TRUNCATE orders", "", true, true},
		{"TRUNCATE shop.orders_archive", "shop", false, false},
		{"DROP TABLE `changeling_1`.`orders`", "shop", false, false},
		{"ALTER TABLE items ADD FOREIGN KEY (o) REFERENCES orders (id)", "shop", true, true},
		{"ALTER TABLE items COMMENT 'orders'", "shop", false, false},
		{"TRUNCATE \"orders\"", "shop", true, true},
		{"ALTER TABLE items ADD c int", "shop", false, false},
		{"ALTER TABLE `orders` COMMENT 'cut o", "shop", true, true},
		{"ALTER /*!50000 TABLE orders */ ADD c int", "shop", true, true},
		{"/*!50000 TRUNCATE orders */", "shop", false, true},
		{"LOCK TABLES a_view WRITE", "shop", false, true},
		{"CALL anything()", "shop", false, true},
		{"", "shop", false, true},
	} {
		if got := Contends(p, c.database, c.statement, false); got != c.runs {
			t.Errorf("%q in %q, at work: %v", c.statement, c.database, got)
		}
		if got := Contends(p, c.database, c.statement, true); got != c.waits {
			t.Errorf("%q in %q, waiting: %v", c.statement, c.database, got)
		}
	}
}

func TestAsideSortsBehind(t *testing.T) {
	t.Parallel()
	for table, want := range map[string]string{
		"a": "changeling_7_old", "Orders": "zz_changeling_7_old", "Apples": "changeling_7_old", "orders": "zz_changeling_7_old", "zzz": "\uFFFDchangeling_7_old", "über": "\uFFFDchangeling_7_old",
	} {
		p := schema.Pair{Change: "7", Source: schema.Name{Schema: "shop", Table: table}}
		if got := Aside(p); got.Table != want || got.Schema != "shop" || got.Table <= table {
			t.Errorf("Aside of %s = %s, want %s", table, got, want)
		}
	}
}
