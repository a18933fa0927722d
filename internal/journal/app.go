package journal

// AppText is the SQL of the register of applications on one kind of server. Arguments stand in the order of the comments.
type AppText struct {
	Schema string // makes the table; may run twice
	Exists string
	Save   string // tree, app, instance, version, seconds for which it holds
	Delete string // tree, app, instance
	Select string // tree -> app, instance, version, seconds since 1970 until which it holds; those that do
}
