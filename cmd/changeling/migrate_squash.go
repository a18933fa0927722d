package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/migrate"
)

func (g *migrating) squash() *cobra.Command {
	return &cobra.Command{
		Use: "squash VERSION", Short: "Put all migrations up to a version into one file", Args: one("the last version that goes into it"),
		Long: `Puts all migrations up to a version into one file in their place, which takes the version. New databases
run it; those that have the version take it as applied, and those below it are refused: they go through
a release that still has the files. Way-back scripts of what is squashed go with it.`,
		Example: `  changeling migrate squash 20250101000000`,
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := migrate.Read(os.DirFS(g.dir), migrate.ReadOptions{Format: g.config().Format, Syntax: g.syntax(), Placeholders: g.placeholders})
			if err != nil {
				return err
			}
			file, old, err := migrate.Squash(t, args[0])
			if err != nil {
				return err
			}
			// The new file stands complete before an old one goes; if this is ended in between, two files of one version are refused.
			path := filepath.Join(g.dir, file.Name)
			if err := os.WriteFile(path+".new", []byte(file.Body), 0o644); err != nil {
				return usage("%s cannot be made: %v", path, err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				return err
			}
			g.app.printf("%s\n", path)
			for _, name := range old {
				if name == file.Name {
					continue
				}
				if err := os.Remove(filepath.Join(g.dir, name)); err != nil {
					return err
				}
				g.app.printf("removed %s\n", filepath.Join(g.dir, name))
			}
			return nil
		},
	}
}
