package mysql

// DDL commits by itself and carries no fencing token, and it runs on although its client has gone. So a change has one connection
// for it at a time, which holds a named lock of the server. Who wants to be the next one ends the connection that holds it
// and waits until it has gone; then nothing that was begun there can happen any more.

func sole(change string) string { return literal("changeling " + change) }

// Hold takes the lock for a connection if nobody has it, and answers whether it did. Let gives it back.
func Hold(change string) string { return "SELECT COALESCE(GET_LOCK(" + sole(change) + ", 0), 0)" }

// Let gives the lock back, and those of tables, if a statement failed under them.
func Let(change string) string {
	return "UNLOCK TABLES" + Then + "DO RELEASE_LOCK(" + sole(change) + ")"
}

// Holder answers the id of the connection that has the lock, or 0.
func Holder(change string) string { return "SELECT COALESCE(IS_USED_LOCK(" + sole(change) + "), 0)" }
