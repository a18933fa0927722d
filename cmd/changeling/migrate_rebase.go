package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/migrate"
)

func (g *migrating) rebase() *cobra.Command {
	return &cobra.Command{
		Use: "rebase VERSION", Short: "Move a migration that has run nowhere behind all others", Args: one("the version that is to be moved"), Example: `  changeling migrate rebase 20260101120000`,
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := migrate.Read(os.DirFS(g.dir), migrate.ReadOptions{Format: g.config().Format, Syntax: g.syntax(), Placeholders: g.placeholders})
			if err != nil {
				return err
			}
			all, err := migrate.Rebase(t, args[0], time.Now())
			if err != nil {
				return err
			}
			for _, r := range all {
				from, to := filepath.Join(g.dir, r.From), filepath.Join(g.dir, r.To)
				if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
					return usage("%s is there already: nothing takes its place", to)
				}
				if err := os.Rename(from, to); err != nil {
					return err
				}
				g.app.printf("%s -> %s\n", from, to)
			}
			return nil
		},
	}
}
