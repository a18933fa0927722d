package schema

// Table is the definition of a table in parts, for whoever has to make it, or a part of it, again.
type Table struct {
	Name  Name   `json:"name"`
	Parts []Part `json:"parts"`
	Text  string `json:"text,omitempty"` // the statement that makes it, where the server has one
	Odd   string `json:"odd,omitempty"`  // what it has that its parts do not say; empty: nothing
}

// Part is a column, a constraint or an index of a Table.
type Part struct {
	Kind    string `json:"kind"` // column, constraint, foreign key, index, options
	Name    string `json:"name"`
	Text    string `json:"text"` // what makes it, as the server writes it
	Type    string `json:"type,omitempty"`
	Default string `json:"default,omitempty"`
	NotNull bool   `json:"not_null,omitempty"`
	Odd     string `json:"odd,omitempty"` // why it cannot be made again from this
}

// Part is the part of a kind and a name, or nil; a nil table has none.
func (t *Table) Part(kind, name string) *Part {
	if t == nil {
		return nil
	}
	for i, p := range t.Parts {
		if p.Kind == kind && p.Name == name {
			return &t.Parts[i]
		}
	}
	return nil
}

// Back is what leads a table from one definition back to an earlier one.
type Back struct {
	SQL   []string `json:"sql"`
	Why   string   `json:"why,omitempty"`   // it cannot be made; nothing stands in SQL then
	Lossy string   `json:"lossy,omitempty"` // what does not come back with it; empty: nothing is missing
}
