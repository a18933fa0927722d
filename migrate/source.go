package migrate

import (
	"io/fs"
	"path"
)

// Source is one direction of one file as it stands: BEGIN and COMMIT are statements of it, and nothing is compared with other
// files. It is for whoever judges files without running them.
type Source struct {
	Script
	Version string // as the format has it; empty where the file's name says none
	Format  Format
	Down    bool // the way back
	OneWay  bool // the format has both ways in one file, and this one has no way back
}

// Sources reads one file. The format is that of the options, or recognised by the file alone. Errors are of kind changeling.ErrUsage.
func Sources(name, text string, o ReadOptions) ([]Source, error) {
	base := path.Base(name)
	r := &reader{options: o, files: []string{base}, text: map[string]string{base: text}}
	format := o.Format
	if format == Auto {
		var err error
		if format, err = r.recognise(); err != nil {
			return nil, err
		}
	}
	version := ""
	down := false
	if m := numbered.FindStringSubmatch(base); m != nil {
		version = trimZeros(m[1])
	}
	if m := upFile.FindStringSubmatch(base); m != nil && format == GolangMigrate {
		down = m[3] == "down"
	}
	if m := flywayFile.FindStringSubmatch(base); m != nil && format == Flyway {
		version, down = m[2], m[1] == "U"
	}
	p := &parser{file: name, syntax: o.Syntax, raw: true}
	switch format {
	case Goose, SQLMigrate:
		if p.mark = "+goose"; format == SQLMigrate {
			p.mark = "+migrate"
		}
		up, back, err := p.both(text)
		if err != nil {
			return nil, err
		}
		out := []Source{{Script: up, Version: version, Format: format, OneWay: back == nil}}
		if back != nil {
			out = append(out, Source{Script: *back, Version: version, Format: format, Down: true})
		}
		return out, nil
	case Flyway:
		text = placeholder.ReplaceAllStringFunc(text, func(s string) string {
			if v, ok := o.Placeholders[s[2:len(s)-1]]; ok {
				return v
			}
			return s
		})
	default:
		p.mark = "atlas:"
	}
	one, err := p.one(text)
	return []Source{{Script: one, Version: version, Format: format, Down: down}}, err
}

// Recognise finds the format of a tree by its files. Where they look like two formats it is an error.
func Recognise(fsys fs.FS) (Format, error) {
	files, err := list(fsys)
	if err != nil {
		return Auto, err
	}
	r := &reader{fsys: fsys, files: files, text: map[string]string{}}
	for _, f := range files {
		body, err := fs.ReadFile(fsys, f)
		if err != nil {
			return Auto, usage("%s cannot be read: %v", f, err)
		}
		r.text[f] = string(body)
	}
	return r.recognise()
}

// CompareVersions orders versions as migrations run: digits by their number, all else by its bytes.
func CompareVersions(a, b string) int { return compare(a, b) }
