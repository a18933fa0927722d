package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/changeling-db/changeling"
)

func newThrottle(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "throttle ID [NAME=VALUE ...]",
		Short: "Set how much a change may do, wherever it runs",
		Long: `Sets how much a change may do, wherever it runs. It is heeded within two seconds, also by a run that
is under way, and by all its runs from then on; it counts before the flags of a run. An empty
value takes back what was set, "off" is no limit. A list is given by several pairs of one name.
Without a pair it shows what was set.

Names and values:
` + settingsHelp(),
		Example: `  changeling throttle 3f2a1b4c max-lag=10s nice=2
  changeling throttle 3f2a1b4c window="TZ=Europe/Berlin * 1-5 * * *" max-load=off
  changeling throttle 3f2a1b4c max-lag=`,
		Args: func(cmd *cobra.Command, args []string) error { return oneID(cmd, args[:min(len(args), 1)]) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.ids(false)(cmd, args, word)
			}
			var out []cobra.Completion
			for _, s := range changeling.Settings() {
				out = append(out, cobra.CompletionWithDesc(s.Name+"=", s.Help))
			}
			return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			values := make(map[string][]string)
			for _, pair := range args[1:] {
				name, value, ok := strings.Cut(pair, "=")
				if !ok {
					return usage("%q: expected NAME=VALUE, such as max-lag=10s", pair)
				}
				if _, known := values[name]; !known {
					names = append(names, name)
				}
				if values[name] = append(values[name], value); value == "" {
					values[name] = nil
				}
			}
			return a.change(cmd.Context(), changeling.Config{}, args[0], func(c *changeling.Change, s changeling.Status) error {
				for _, name := range names {
					if err := c.Set(cmd.Context(), name, values[name]...); err != nil {
						return err
					}
				}
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				if len(s.Settings) == 0 {
					a.printf("change %s is throttled as its run was started\n", s.ID)
				}
				for _, line := range s.Settings {
					a.printf("%s\n", clean(line))
				}
				return nil
			})
		},
	}
}

func settingsHelp() string {
	var b strings.Builder
	for _, s := range changeling.Settings() {
		fmt.Fprintf(&b, "  %-20s %s: %s\n", s.Name, s.Kind, s.Help)
	}
	return strings.TrimRight(b.String(), "\n")
}

// settings adds a flag for each knob of the throttle.
func (w *working) settings(f *pflag.FlagSet) {
	w.set = make(map[string][]string)
	for _, s := range changeling.Settings() {
		f.Var(&settingFlag{w, s}, s.Name, s.Help)
	}
}

// settingFlag is a knob as a flag, which may be given several times.
type settingFlag struct {
	to *working
	s  changeling.Setting
}

func (f *settingFlag) String() string { return "" }
func (f *settingFlag) Type() string   { return f.s.Kind }

func (f *settingFlag) Set(value string) error {
	values := append(f.to.set[f.s.Name], value)
	var trial changeling.Throttle
	if err := trial.Set(f.s.Name, values...); err != nil {
		return err
	}
	f.to.set[f.s.Name] = values
	return nil
}

// throttle is what the flags say.
func (w *working) throttle() (t changeling.Throttle, err error) {
	for _, s := range changeling.Settings() {
		if values := w.set[s.Name]; err == nil && len(values) > 0 {
			err = t.Set(s.Name, values...)
		}
	}
	if err == nil && w.fast && t.Nice > 0 {
		err = usage("--fast and --nice contradict each other")
	}
	return t, err
}
