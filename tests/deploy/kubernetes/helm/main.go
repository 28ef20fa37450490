// What `helm lint --strict` and `helm template` do, by Helm's own packages: a third of what the whole
// program takes to compile, which talks to clusters and registries besides.
//
//	helm lint CHART VALUES.yaml
//	helm template CHART VALUES.yaml
//
// Releases are named thermograd, in the namespace training of a cluster of the oldest version allowed.
package main

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

const (
	namespace = "training"
	// Of the cluster: the oldest that the chart promises to run in.
	kubernetes = "v1.30.0"
)

func run(command, path string, values chartutil.Values) error {
	switch command {
	case "lint":
		return check(path, values)
	case "template":
		return render(path, values)
	}
	return fmt.Errorf("no command %q", command)
}

func check(path string, values chartutil.Values) error {
	linter := lint.All(path, values, namespace, true)
	failed := false
	for _, message := range linter.Messages {
		fmt.Fprintln(os.Stderr, message)
		failed = failed || message.Severity >= support.WarningSev
	}
	if failed {
		return errors.New("the chart has faults")
	}
	return nil
}

func render(path string, values chartutil.Values) error {
	chart, err := loader.Load(path)
	if err != nil {
		return err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	version, err := chartutil.ParseKubeVersion(kubernetes)
	if err != nil {
		return err
	}
	capabilities.KubeVersion = *version
	if !chartutil.IsCompatibleRange(chart.Metadata.KubeVersion, capabilities.KubeVersion.String()) {
		return fmt.Errorf("kubeVersion %s leaves out %s", chart.Metadata.KubeVersion, kubernetes)
	}
	release := chartutil.ReleaseOptions{
		Name: "thermograd", Namespace: namespace, Revision: 1, IsInstall: true}
	// Checks the values against the chart's schema, as Helm does.
	all, err := chartutil.ToRenderValues(chart, values, release, capabilities)
	if err != nil {
		return err
	}
	files, err := engine.Engine{Strict: true}.Render(chart, all)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		text := strings.TrimSpace(files[name])
		if strings.HasSuffix(name, ".yaml") && text != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, text)
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: helm lint|template CHART VALUES.yaml")
		os.Exit(2)
	}
	values, err := chartutil.ReadValuesFile(os.Args[3])
	if err == nil {
		err = run(os.Args[1], os.Args[2], values)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
