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

const house = "github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/"

// rooms lists, for every package, the rooms of this house it may enter.
var rooms = map[string][]string{
	"rollout":    {"evidence"},
	"evidence":   {},
	"policy":     {"rollout", "evidence"},
	"simulate":   {"rollout", "policy"},
	"policyfile": {"rollout", "policy", "sinks"},
	"sinks":      {"rollout", "policy"},
	"report":     {"rollout", "policy", "evidence", "trace"},
	"trace":      {"rollout", "policy"},
	"export":     {"rollout", "policy", "trace"},
	"chart":      {"evidence", "policy"},
	"dora":       {"rollout"},
	"archive":    {"rollout", "policy", "report", "chart", "trace"},
	"keeper":     {"rollout", "policy"},
	"flagger":    {"rollout"},
	"web":        {"rollout", "policy", "report", "chart", "dora", "sinks", "trace"},
	"count":      {"rollout"},
	"doctor":     {"policy", "evidence"},
	"kube":       {"rollout", "doctor"},
	"store":      {"rollout", "ledger"},
	"notify":     {"rollout", "sinks"},
	"standby":    {"rollout"},
	"ledger":     {"rollout", "policy", "evidence"},
	"settle":     {"rollout"},
	"helm":       {},

	"store/storetest":   {},
	"ledger/ledgertest": {"rollout", "policy"},
}

// pure rooms have no door to the outside: this is all of the standard library they may touch, and nothing else.
var pure = map[string][]string{
	"rollout":  {"cmp", "crypto/sha256", "encoding/hex", "encoding/json", "errors", "fmt", "maps", "math", "slices", "sort", "strconv", "strings", "time"},
	"evidence": {"math", "slices", "time", "gonum.org/v1/gonum/integrate/quad", "gonum.org/v1/gonum/mathext"},
	"simulate": {"math", "math/rand/v2", "slices", "time"},
	"policy":   {"cmp", "crypto/sha256", "encoding/hex", "encoding/json", "errors", "fmt", "maps", "math", "slices", "sort", "strconv", "strings", "time"},
	"sinks":    {"errors", "fmt", "net/url", "path", "slices", "strconv", "strings", "text/template", "time"},
	"doctor":   {"cmp", "fmt", "maps", "math", "net/url", "regexp", "slices", "strconv", "strings", "time"},
	"dora":     {"cmp", "maps", "math", "slices", "time"},
	"chart": {
		"cmp", "errors", "fmt", "image/color", "io", "math", "regexp", "slices", "strconv", "strings", "time", "unicode",
		"gonum.org/v1/plot", "gonum.org/v1/plot/font", "gonum.org/v1/plot/text", "gonum.org/v1/plot/vg", "gonum.org/v1/plot/vg/draw", "gonum.org/v1/plot/vg/vgsvg",
	},
	"trace": {
		"context", "crypto/sha256", "errors", "fmt", "math", "net/url", "slices", "strings", "time",
		"go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/propagation", "go.opentelemetry.io/otel/semconv/v1.43.0", "go.opentelemetry.io/otel/trace",
	},
	"ledger": {"bufio", "bytes", "crypto/sha256", "encoding/hex", "encoding/json", "errors", "fmt", "io", "iter", "maps", "slices", "strings", "time"},
	"settle": {"errors", "fmt", "slices", "strings", "github.com/goccy/go-yaml"},
	"report": {"cmp", "fmt", "io", "math", "net/url", "strconv", "strings", "text/template", "time", "unicode"},
}

// only says which rooms alone may import what begins so.
var only = map[string][]string{
	"github.com/gin-gonic/gin": {"flagger", "web"},
	"database/sql":             {"store"},
	"github.com/jackc/pgx":     {"store", "store/storetest"},
	"k8s.io/":                  {"kube"},
	"gonum.org/":               {"evidence", "chart"},
	"go.opentelemetry.io/":     {"trace", "export"},
	"google.golang.org/grpc":   {"export"},
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
