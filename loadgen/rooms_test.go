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

const module = "github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/"

// rooms lists, for every package, the rooms of this house it may enter.
var rooms = map[string][]string{
	"shape": {},
	"fire":  {"shape"},
	"tally": {},
	"seen":  {},
	"api":   {"shape", "fire", "tally", "seen"},
}

// pure rooms get everything as arguments: all they may import is here.
var pure = map[string][]string{
	"shape": {"errors", "fmt", "math", "slices", "sort", "strconv", "strings", "time"},
	"tally": {
		"encoding/json", "errors", "fmt", "io", "maps", "slices", "strconv", "strings", "sync", "time",
		"github.com/HdrHistogram/hdrhistogram-go",
	},
}

// only says which rooms alone may use a library.
var only = map[string][]string{
	"github.com/gin-gonic/gin":                {"api"},
	"github.com/prometheus/client_golang":     {"api", "seen"},
	"github.com/tsenart/vegeta/v12":           {"fire"},
	"go.opentelemetry.io":                     {"fire", "api"},
	"github.com/HdrHistogram/hdrhistogram-go": {"tally"},
}

func TestRooms(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(fields[0], module)
		may, known := rooms[room]
		if !known {
			t.Errorf("%s has no entry in rooms: say what it may import", room)
		}
		for _, imported := range fields[1:] {
			if other, ours := strings.CutPrefix(imported, module); ours {
				if !slices.Contains(may, other) {
					t.Errorf("%s must not import %s", room, other)
				}
				continue
			}
			if allowed, isPure := pure[room]; isPure && !slices.Contains(allowed, imported) {
				t.Errorf("%s is pure and must not import %s", room, imported)
			}
			for library, owners := range only {
				if (imported == library || strings.HasPrefix(imported, library+"/")) && !slices.Contains(owners, room) {
					t.Errorf("%s must not import %s: only %v may", room, imported, owners)
				}
			}
		}
	}
}

func TestPureRoomsHaveNoClock(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for room := range pure {
		files, err := filepath.Glob(filepath.Join("internal", room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s (%v)", room, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, s.Sel.Name) {
						t.Errorf("%s reads the clock (time.%s)", file, s.Sel.Name)
					}
				}
				return true
			})
		}
	}
}
