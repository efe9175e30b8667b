package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sdk is Grafana's: types and builders that do nothing but make JSON.
const sdk = "github.com/grafana/grafana-foundation-sdk/go/"

const house = "github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/"

// rooms lists, for every package, the rooms of this house it may enter.
var rooms = map[string][]string{
	"slo":        {},
	"slofile":    {"slo"},
	"rules":      {"slo"},
	"rulefile":   {"rules"},
	"dashboards": {"slo"},
}

// pure rooms have no door to the outside: this is all of the standard library they may touch, and nothing else.
var pure = map[string][]string{
	"slo":   {"cmp", "errors", "fmt", "maps", "math", "slices", "strconv", "strings", "time"},
	"rules": {"cmp", "errors", "fmt", "maps", "math", "slices", "strconv", "strings", "time"},
	"dashboards": {
		"encoding/json", "fmt", "slices", "time",
		sdk + "bargauge", sdk + "cog", sdk + "cog/variants", sdk + "common", sdk + "dashboard", sdk + "prometheus",
		sdk + "stat", sdk + "statetimeline", sdk + "table", sdk + "timeseries", sdk + "units",
	},
}

// only says which rooms alone may import what begins so.
var only = map[string][]string{
	"github.com/grafana/":      {"dashboards"},
	"github.com/goccy/go-yaml": {"slofile", "rulefile"},
	"github.com/prometheus/":   {"slofile"},
}

// clock are the functions of package time that read or wait for the clock.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

func TestRooms(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(fields[0], house)
		may, known := rooms[room]
		if !known {
			t.Errorf("%s has no entry in rooms: say what it may import", room)
		}
		for _, imported := range fields[1:] {
			checkImport(t, room, may, imported)
		}
	}
}

func checkImport(t *testing.T, room string, may []string, imported string) {
	if other, ours := strings.CutPrefix(imported, house); ours {
		if !slices.Contains(may, other) {
			t.Errorf("%s must not import %s", room, other)
		}
		return
	}
	if std, isPure := pure[room]; isPure && !slices.Contains(std, imported) {
		t.Errorf("%s is pure and must not import %s", room, imported)
	}
	for what, who := range only {
		if strings.HasPrefix(imported, what) && !slices.Contains(who, room) {
			t.Errorf("%s must not import %s: only %v may", room, imported, who)
		}
	}
}

func TestPureRoomsDoNotReadTheClock(t *testing.T) {
	for room := range pure {
		files, err := filepath.Glob("internal/" + room + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in room %s: %v", room, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
					t.Errorf("%s reads the clock (time.%s)", file, sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestEveryRoomSaysWhatItDoes(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{len .Doc}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasSuffix(strings.TrimSpace(line), " 0") {
			t.Errorf("%s: no sentence says what the package does", strings.Fields(line)[0])
		}
	}
}
