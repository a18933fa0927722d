package mysql

import "testing"

// TestRebuilds: only what is known to leave definition and rows as they are counts as a rebuild.
func TestRebuilds(t *testing.T) {
	for text, want := range map[string]bool{
		"OPTIMIZE TABLE orders": true, "optimize no_write_to_binlog table `a b`.`orders`, x": true, "OPTIMIZE LOCAL TABLES orders;": true,
		"ALTER TABLE orders FORCE": true, "alter table `o``r`.`or ders` engine = innodb ;": true, "ALTER TABLE app.orders ENGINE InnoDB": true,
		"ALTER TABLE orders FORCE, DROP COLUMN note": false, "ALTER TABLE orders ENGINE=InnoDB ROW_FORMAT=COMPRESSED": false, "ALTER TABLE orders ENGINE=MyISAM": false,
		"ALTER TABLE orders RENAME TO FORCE": false, "ALTER TABLE orders OPTIMIZE PARTITION p": false, "RENAME TABLE a TO orders": false, "/* x */ ALTER TABLE orders FORCE": false,
		"REPAIR TABLE orders": false, "the table has 3 columns in the binary log, 4 were expected": false,
	} {
		if got := Rebuilds(text); got != want {
			t.Errorf("Rebuilds(%q) = %v", text, got)
		}
	}
}
