package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// Q7: what is under deploy/ is well formed, its commands are ones that the program knows, and its Jobs end, retry what is
// worth it, and do not restart in place.
func TestQ7Manifests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "deploy")
	plain, err := os.ReadFile(filepath.Join(root, "kubernetes", "migrate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	docs := append(documents(t, plain), documents(t, rendered(t, root))...)
	jobs, hooks, waits := 0, 0, 0
	for _, d := range docs {
		spec := at(d, "spec")
		pod := at(spec, "template", "spec")
		for _, c := range append(list(pod, "containers"), list(pod, "initContainers")...) {
			waits += known(t, c)
		}
		if at(d, "kind") != "Job" {
			continue
		}
		jobs++
		if at(pod, "restartPolicy") != "Never" || at(spec, "activeDeadlineSeconds") == nil || at(spec, "backoffLimit") == nil {
			t.Errorf("a Job without its bounds: %v", d)
		}
		for _, rule := range list(at(spec, "podFailurePolicy"), "rules") {
			retried, _ := at(rule, "onExitCodes", "values").([]any)
			if at(rule, "action") == "FailJob" && (!slices.Contains(retried, any(75)) || slices.Contains(retried, any(14))) {
				t.Errorf("retried exit codes: %v", retried)
			}
		}
		if hook, _ := at(d, "metadata", "annotations", "helm.sh/hook").(string); hook == "pre-install,pre-upgrade" {
			hooks++
		}
	}
	if jobs != 2 || hooks != 1 || waits != 1 {
		t.Errorf("%d jobs, %d hooks, %d containers that wait", jobs, hooks, waits)
	}
}

// known parses a container's command as the program does. It answers 1 for `migrate wait`.
func known(t *testing.T, container any) (waits int) {
	t.Helper()
	var args []string
	for _, a := range list(container, "command") {
		args = append(args, a.(string))
	}
	if len(args) == 0 {
		return 0
	}
	cmd, rest, err := newRoot(&app{}).Find(args[1:])
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil || args[0] != "changeling" || cmd.RunE == nil {
		t.Errorf("%v: %v", args, err)
	}
	if cmd.CommandPath() == "changeling migrate wait" {
		return 1
	}
	return 0
}

// rendered is the chart's Job as Helm renders it with the default values: it uses nothing but variables.
func rendered(t *testing.T, root string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "helm", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	job, err := template.New("job").Option("missingkey=error").ParseFiles(filepath.Join(root, "helm", "templates", "migrate-job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := job.ExecuteTemplate(&out, "migrate-job.yaml", map[string]any{"Values": documents(t, text)[0], "Release": map[string]any{"Name": "shop"}}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func documents(t *testing.T, text []byte) (docs []any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc map[string]any
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return docs
		case err != nil:
			t.Fatalf("%v\nin: %s", err, strings.TrimSpace(string(text)))
		}
		docs = append(docs, doc)
	}
}

// at follows keys into a document.
func at(doc any, keys ...string) any {
	for _, k := range keys {
		m, _ := doc.(map[string]any)
		doc = m[k]
	}
	return doc
}

func list(doc any, key string) []any {
	l, _ := at(doc, key).([]any)
	return l
}
