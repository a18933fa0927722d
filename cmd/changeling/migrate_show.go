package main

import (
	"archive/tar"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing/fstest"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/migrate"
)

func (a *app) json(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (g *migrating) status() *cobra.Command {
	var asJSON, check bool
	cmd := &cobra.Command{
		Use: "status", Short: "Where the database stands against the files", Args: cobra.NoArgs,
		Example: `  changeling migrate status
  changeling migrate status --check --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd.Context(), g.config(), func(m *migrate.Migrator) error {
				st, err := m.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = g.app.json(st)
				} else {
					g.print(st)
				}
				if stateErr := st.Err(); err == nil && stateErr != nil && check {
					return ended(fault.KindOf(stateErr))
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().BoolVar(&check, "check", false, "exit with the code of the state: 0 current, 10 behind, 12 ahead, 13 unknown, 14 edited, 15 failed")
	return cmd
}

func (g *migrating) print(st *migrate.Status) {
	for _, l := range st.Migrations {
		note := ""
		switch {
		case !l.InFiles:
			note = "not in the files"
		case l.Edited:
			note = "edited after it ran"
		case l.Reformated:
			note = "only comments or white space were edited"
		}
		at := ""
		if l.At != nil {
			at = l.At.Local().Format(time.DateTime)
		}
		g.app.printf("%-16s  %-10s  %-19s  %s\n", l.Version, l.Status, at, strings.TrimSpace(l.Name+"  "+note))
		if l.Error != "" {
			g.app.printf("    %s\n", shorten(strings.Join(strings.Fields(l.Error), " "), 300))
		}
	}
	g.app.printf("%s: %s\n", st.State, st.Message)
	if st.Owner != "" {
		g.app.printf("run now by %s\n", st.Owner)
	}
}

func (g *migrating) plan() *cobra.Command {
	var asJSON, markdown, direct bool
	var to string
	cmd := &cobra.Command{
		Use: "plan", Short: "What up would do, statement by statement", Args: cobra.NoArgs, Example: `  changeling migrate plan --markdown`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := g.config()
			c.Direct = direct
			return g.with(cmd.Context(), c, func(m *migrate.Migrator) error {
				all, err := m.Plan(cmd.Context(), to)
				switch {
				case err != nil:
					return err
				case asJSON:
					return g.app.json(all)
				case markdown:
					g.app.printf("%s", migrate.Markdown(all))
				case len(all) == 0:
					g.app.printf("nothing to do\n")
				default:
					g.app.printf("%s", migrate.Text(all))
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "the last `version` (default: the newest)")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	f.BoolVar(&markdown, "markdown", false, "for a comment on a pull request")
	f.BoolVar(&direct, "direct", false, "without the engine")
	return cmd
}

func (g *migrating) history() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "history", Short: "Everything that happened, the newest first", Args: cobra.NoArgs, Example: `  changeling migrate history --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd.Context(), g.config(), func(m *migrate.Migrator) error {
				all, err := m.History(cmd.Context())
				if err != nil || asJSON {
					return errors.Join(err, g.app.json(all))
				}
				for _, e := range all {
					g.app.printf("%s  %-9s  %-16s  %8s  %s  %s\n", e.At.Local().Format(time.DateTime), e.What, e.Version, e.Took.Round(time.Millisecond), e.By, shorten(strings.Join(strings.Fields(e.Detail), " "), 120))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (g *migrating) validate() *cobra.Command {
	var from []string
	var outOfOrder string
	cmd := &cobra.Command{
		Use: "validate", Short: "Read the files; replay the upgrade of a release on an empty database", Args: cobra.NoArgs,
		Long: `Without --from it reads the files and says what is wrong with them; it does not connect.
With --from it makes an empty database beside yours, brings it to the tree as it was at that tag of git
(or in that directory), and then to the tree of now. It drops that database again.`,
		Example: `  changeling migrate validate
  changeling migrate validate --from v1.2.0 --from v1.3.0`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			t, err := migrate.Read(os.DirFS(g.dir), migrate.ReadOptions{Format: g.config().Format, Syntax: g.syntax(), Placeholders: g.placeholders})
			if err != nil {
				return err
			}
			g.app.printf("%d migrations of %s, up to %s\n", len(t.Migrations), t.Format, t.Head())
			for _, tag := range from {
				if err := g.replay(ctx, tag, outOfOrder); err != nil {
					return fmt.Errorf("from %s: %w", tag, err)
				}
				g.app.printf("from %s: ok\n", tag)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "replay from the tree at this `tag` of git, or in this directory; may be said several times")
	cmd.Flags().StringVar(&outOfOrder, "out-of-order", "error", "as `policy` for up: error, apply, skip")
	return cmd
}

func (g *migrating) replay(ctx context.Context, tag, outOfOrder string) error {
	old, err := release(ctx, g.dir, tag)
	if err != nil {
		return err
	}
	c := g.config()
	if outOfOrder != "error" {
		c.OutOfOrder = migrate.Policy(outOfOrder)
	}
	return g.with(ctx, c, func(m *migrate.Migrator) error {
		return g.scratch(ctx, func(db *sql.DB) error { return m.Validate(ctx, old, db) })
	})
}

func (g *migrating) verify() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Compare the live schema with what the files make", Args: cobra.NoArgs,
		Long: `Makes an empty database beside yours, brings it to the version that yours is at, and compares the two
schemas. Exit code 16 says that they differ. It drops that database again.`,
		Example: `  changeling migrate verify`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd.Context(), g.config(), func(m *migrate.Migrator) error {
				err := g.scratch(cmd.Context(), func(db *sql.DB) error { return m.Verify(cmd.Context(), db) })
				if err == nil {
					g.app.printf("the live schema is what the files say\n")
				}
				return err
			})
		},
	}
}

// release is a tree as it was: a directory, or a tag of the repository that the tree is in.
func release(ctx context.Context, dir, tag string) (fs.FS, error) {
	if info, err := os.Stat(tag); err == nil && info.IsDir() {
		return os.DirFS(tag), nil
	}
	if strings.HasPrefix(tag, "-") {
		return nil, usage("%q is no tag", tag)
	}
	cmd := exec.CommandContext(ctx, "git", "-C", dir, "archive", "--format=tar", tag, "--", ".")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, usage("the tree at %q cannot be read: %s", tag, strings.TrimSpace(stderr.String()+" "+err.Error()))
	}
	return untar(out)
}

// untar is an archive as files in memory.
func untar(archive []byte) (fs.FS, error) {
	files := fstest.MapFS{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[path.Clean(h.Name)] = &fstest.MapFile{Data: body}
	}
}
