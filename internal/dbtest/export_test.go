package dbtest

// Caches is for the test that compares it with scripts/setup.sh.
func Caches() []string { return caches() }
