// Package conformance holds what every dialect must do alike. Its one idea is the twin: the same statement runs natively on
// one database and through the engine on another, and afterwards nobody can tell the two apart. It has tests only.
package conformance
