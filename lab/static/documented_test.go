package static

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// documented reads the tables of docs/metrics.md under the heading of a program, | `name` | type | `label`, `label` | …, to
// "type label label" by name.
func documented(t *testing.T, program string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+program+"\n")
	if !found {
		t.Fatalf("docs/metrics.md has no section %q", program)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[string]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
		if !strings.HasPrefix(line, "| `") || len(cells) < 5 {
			continue
		}
		labels := strings.Fields(strings.ReplaceAll(cells[3], ",", " "))
		all[strings.TrimSpace(cells[1])] = strings.Join(append([]string{strings.TrimSpace(cells[2])}, sorted(labels)...), " ")
	}
	return all
}

// agrees fails for each metric that is not documented as it is, and for each that is documented and not exposed. What
// client libraries tell of every process is left out.
func agrees(t *testing.T, program string, families map[string]*dto.MetricFamily) {
	t.Helper()
	written, exposed := documented(t, program), map[string]string{}
	for name, family := range families {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			exposed[name] = strings.Join(append([]string{strings.ToLower(family.GetType().String())}, sorted(labels(family.GetMetric()[0]))...), " ")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(exposed)) {
		if written[name] != exposed[name] {
			t.Errorf("%s exposes %s as %q, docs/metrics.md says %q", program, name, exposed[name], written[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if _, is := exposed[name]; !is {
			t.Errorf("docs/metrics.md has %s, which %s does not expose", name, program)
		}
	}
}
