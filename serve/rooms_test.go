package serve_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const house = "github.com/rollout-monitoring/microservice_rollout_monitoring/serve/"

// rooms lists, for every package, all that it may import. What several programs share
// knows nothing of what they are for: no other room of the house is here, and no
// library of a domain.
var rooms = map[string][]string{
	"check":     {"context", "fmt", "io", "net/http", "time", "github.com/cenkalti/backoff"},
	"telemetry": {"context", "fmt", "log/slog", "os", "strings", "sync", "time", "go.opentelemetry.io/otel"},
}

func TestNothingOfTheDomainEntersWhatProgramsShare(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}|{{join .Imports " "}}|{{.Doc}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(out)) {
		parts := strings.SplitN(line, "|", 3)
		room, ok := strings.CutPrefix(parts[0], house)
		if !ok {
			continue // this test's own
		}
		found++
		may, known := rooms[room]
		if !known {
			t.Errorf("%s has no entry in rooms: say what it may import", room)
		}
		if !strings.HasPrefix(parts[2], "Package ") {
			t.Errorf("%s: no sentence says what the package does", room)
		}
		for _, imported := range strings.Fields(parts[1]) {
			if !slices.ContainsFunc(may, func(m string) bool {
				return imported == m || strings.HasPrefix(imported, m+"/") && strings.Contains(m, ".")
			}) {
				t.Errorf("%s must not import %s", room, imported)
			}
		}
	}
	if found != len(rooms) {
		t.Errorf("%d rooms were found, the list has %d", found, len(rooms))
	}
}
