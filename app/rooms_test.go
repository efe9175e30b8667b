package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const house = "github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/"

// rooms lists, for every package, the rooms of this house it may enter.
var rooms = map[string][]string{
	"chaos": {},
	"peers": {},
	"api":   {"chaos", "peers"},
}

// pure rooms have no door to the outside: these are all they may import.
var pure = map[string][]string{
	"chaos": {"cmp", "errors", "fmt", "maps", "math", "slices", "sort", "strconv", "strings", "time"},
}

// only names the rooms that alone may use an outside package, by prefix.
var only = map[string][]string{
	"github.com/gin-gonic/":              {"api"},
	"github.com/prometheus/":             {"api"},
	"math/rand":                          {"api"},
	"go.opentelemetry.io/otel/sdk":       {},
	"go.opentelemetry.io/otel/exporters": {},
	"go.opentelemetry.io/":               {"api"},
	"os":                                 {},
	"github.com/alecthomas/kong":         {},
}

func TestEveryRoomKeepsToItsSheet(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}|{{join .Imports " "}}|{{.Doc}}`, "./internal/...")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		parts := strings.SplitN(line, "|", 3)
		room := strings.TrimPrefix(parts[0], house)
		may, known := rooms[room]
		if !known {
			t.Errorf("%s has no entry in rooms: say what it may import", room)
		}
		if doc := strings.TrimSpace(parts[2]); !strings.HasPrefix(doc, "Package ") || !strings.HasSuffix(doc, ".") {
			t.Errorf("%s does not say in one sentence what it is for", room)
		}
		for _, imp := range strings.Fields(parts[1]) {
			if other, ours := strings.CutPrefix(imp, house); ours {
				if !slices.Contains(may, other) {
					t.Errorf("%s must not import %s", room, other)
				}
				continue
			}
			if std, ok := pure[room]; ok && !slices.Contains(std, imp) {
				t.Errorf("%s is pure and must not import %s", room, imp)
			}
			for prefix, allowed := range only {
				match := imp == prefix || strings.HasPrefix(imp, strings.TrimSuffix(prefix, "/")+"/")
				if match && !slices.Contains(allowed, room) {
					t.Errorf("%s must not import %s: that is for %v", room, imp, allowed)
				}
			}
		}
	}
}

func TestPureRoomsNeverReadTheClock(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for room := range pure {
		files, err := filepath.Glob(filepath.Join("internal", room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("read room %s: %v, %d files", room, err, len(files))
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
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
						t.Errorf("%s reads the clock (time.%s)", file, sel.Sel.Name)
					}
				}
				return true
			})
		}
	}
}
