package fault

import "errors"

// Kind sorts the errors that end a run by what a caller can do about them. Its number is the exit code of the command.
type Kind int

// The kinds. A kind is an error itself, so that errors.Is(err, fault.Owned) asks for it.
const (
	Unexpected   Kind = 1  // a fault of ours or of the world
	Usage        Kind = 2  // the statement, a flag or a setting is wrong
	Refused      Kind = 3  // the plan refuses: unsafe, or not supported
	Precondition Kind = 4  // rights, settings, version, disk
	Refusal      Kind = 5  // the data refuse: a cast, a unique key, a check
	Mismatch     Kind = 6  // source and shadow differ after repair
	NoCutover    Kind = 7  // no swap inside the attempts; try again
	Aborted      Kind = 8  // a person ended it
	Owned        Kind = 9  // somebody else runs it
	Behind       Kind = 10 // there is work to do
	Unknown      Kind = 11 // the outcome is not known
	Ahead        Kind = 12 // the database is newer than the files
	Strange      Kind = 13 // the database has what the files do not know
	Edited       Kind = 14 // a file was edited after it ran
	Broken       Kind = 15 // a migration failed and waits for a person
	Drifted      Kind = 16 // the live schema is not what the files say
	Stopped      Kind = 75 // stopped after a checkpoint; run again to go on
)

func (k Kind) Error() string {
	switch k {
	case Usage:
		return "usage"
	case Refused:
		return "refused"
	case Precondition:
		return "precondition not met"
	case Refusal:
		return "the data refuse"
	case Mismatch:
		return "source and shadow differ"
	case NoCutover:
		return "no cutover"
	case Aborted:
		return "aborted"
	case Owned:
		return "run by somebody else"
	case Behind:
		return "work to do"
	case Unknown:
		return "outcome unknown"
	case Ahead:
		return "the database is ahead"
	case Strange:
		return "unknown version"
	case Edited:
		return "edited after it ran"
	case Broken:
		return "failed migration"
	case Drifted:
		return "drifted"
	case Stopped:
		return "stopped"
	}
	return "unexpected"
}

// Problem is an error for a person: Text says what is, what was expected and what to do.
type Problem struct {
	Kind Kind
	Text string
	Err  error // the cause, or nil
}

func (p *Problem) Error() string { return p.Text }

// Unwrap lets errors.Is find both the kind and the cause.
func (p *Problem) Unwrap() []error {
	if p.Err == nil {
		return []error{p.Kind}
	}
	return []error{p.Kind, p.Err}
}

// KindOf is the kind of an error, Unexpected where it has none.
func KindOf(err error) Kind {
	var p *Problem
	if errors.As(err, &p) {
		return p.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Unexpected
}

// Exists says that an object to be made is there already: 42P06, 42P07, 42710, 42723, or the loser of two makers.
func Exists(err error) bool {
	switch Code(err) {
	case "42P06", "42P07", "42710", "42723":
		return true
	}
	return false
}
