package schema

// Name is a table's name. Schema is empty where a statement does not give it.
type Name struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
}

// String is the name for a person: not quoted, and not for use in SQL.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Table
	}
	return n.Schema + "." + n.Table
}
