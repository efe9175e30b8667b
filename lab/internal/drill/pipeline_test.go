package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A program that ends as `gatekeeper wait` does, or as it must not.
func TestWhatThePipelinesCommandEndsWith(t *testing.T) {
	const back = `{"state":"under-way"}` + "\n" + `{"result":"rolled-back","exitCode":2,"reason":"5 of 20 requests failed"}` + "\n"
	for name, c := range map[string]struct {
		prints string
		code   string
		want   string // how the scenario is to end
		wrong  string
	}{
		"as it should":                {back, "2", rolledBack, ""},
		"another end":                 {back, "2", promoted, "ended with 2 (rolled-back: 5 of 20 requests failed), want 0 (promoted)"},
		"it says one thing, and does": {back, "0", rolledBack, "says exit code 2 and ends with 0"},
		"it says nothing":             {"", "1", rolledBack, "does not say how it ended"},
	} {
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "gatekeeper")
			script := "#!/bin/sh\ncat <<'END'\n" + c.prints + "END\nexit " + c.code + "\n"
			if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			p, err := (&Drill{Config: Config{Gatekeeper: program}}).startPipeline(t.Context(), "v2")
			if err != nil {
				t.Fatal(err)
			}
			defer p.stop()
			if _, wrong := p.end(c.want); wrong == "" != (c.wrong == "") || !strings.Contains(wrong, c.wrong) {
				t.Errorf("got %q, want %q", wrong, c.wrong)
			}
		})
	}
}
