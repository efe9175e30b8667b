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

const module = "github.com/rollout-monitoring/microservice_rollout_monitoring/lab"

// rooms lists, for every package, the rooms of this house it may enter.
var rooms = map[string][]string{
	"sh":       {},
	"chart":    {},
	"rights":   {},
	"kube":     {"rights"},
	"cluster":  {"sh", "chart", "kube"},
	"stack":    {"sh", "chart", "kube", "cluster"},
	"count":    {},
	"report":   {"count"},
	"timeline": {},
	"detect":   {},
	"panel":    {},
	"burn":     {},
	"flow":     {},
	"drill":    {"sh", "chart", "kube", "count", "report", "timeline", "detect", "panel", "burn", "flow"},
	"image":    {},
	"registry": {"sh", "image"},
	"recipe":   {},

	// The embedded engine. Its parts know the Kubernetes API and not each other.
	"apiserver": {},
	"workload":  {},
	"node":      {},
	"ingress":   {},
	"network":   {},
	"packages":  {"sh"},
	"bench":     {"sh", "packages", "crowd"},
	"crowd":     {"apiserver"},
	"crash":     {"sh", "crowd"},
	"embedded":  {"sh", "chart", "kube", "cluster", "packages", "apiserver", "workload", "node", "network"},
}

// pure rooms have no door to the outside: these packages and no others, and no clock.
var pure = map[string][]string{
	"count":    {"fmt", "io", "maps", "slices", "strings", "github.com/prometheus/common/expfmt", "github.com/prometheus/common/model"},
	"report":   {"fmt", "strconv", "strings"},
	"timeline": {"fmt", "slices", "strings", "time"},
	"detect":   {"encoding/json", "fmt", "io", "slices", "strings"},
	"burn":     {"slices", "time"},
	"flow":     {"bufio", "bytes", "encoding/json", "fmt", "io", "regexp", "slices", "strings"},
	"image":    {"fmt", "maps", "path", "slices", "strings"},
	"rights":   {"bufio", "cmp", "encoding/json", "fmt", "io", "maps", "slices", "strings"},
	"recipe": {
		"errors", "fmt", "path", "regexp", "slices", "strconv", "strings",
		"github.com/yuin/goldmark", "github.com/yuin/goldmark/ast", "github.com/yuin/goldmark/extension", "github.com/yuin/goldmark/text", "mvdan.cc/sh/v3/syntax",
	},
	"panel": {"encoding/json", "fmt", "maps", "slices", "strings", "sigs.k8s.io/yaml"},
}

// only says which rooms alone may import what begins like this.
var only = map[string][]string{
	"k8s.io/":                                {"kube", "apiserver", "workload", "node", "ingress", "embedded"},
	"helm.sh/":                               {"chart"},
	"sigs.k8s.io/kustomize":                  {"stack"},
	"os/exec":                                {"sh", "node", "ingress", "packages", "bench", "crash"}, // node, ingress, bench and crash are the parents of what they start
	"github.com/prometheus/common":           {"count"},
	"github.com/google/go-containerregistry": {"registry"},
}

func TestRooms(t *testing.T) {
	const format = `{{.ImportPath}};{{.Doc}};{{join .Imports " "}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", format, "./internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.SplitN(strings.TrimSpace(line), ";", 2)
		last := strings.LastIndex(f[1], ";")
		room, doc, imports := strings.TrimPrefix(f[0], module+"/internal/"), f[1][:last], strings.Fields(f[1][last+1:])
		seen[room] = true
		if !strings.HasPrefix(doc, "Package "+filepath.Base(room)+" ") {
			t.Errorf("%s has no sentence that says what it is for", room)
		}
		may, known := rooms[room]
		if !known {
			t.Errorf("%s has no entry in rooms: say what it may import", room)
		}
		for _, imp := range imports {
			checkImport(t, room, imp, may)
		}
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("rooms has an entry for %s, which does not exist", room)
		}
	}
}

func checkImport(t *testing.T, room, imp string, may []string) {
	t.Helper()
	if strings.HasPrefix(imp, "github.com/rollout-monitoring/") && !strings.HasPrefix(imp, module+"/internal/") {
		t.Errorf("%s must not import %s: modules never import one another", room, imp)
	}
	if other, ours := strings.CutPrefix(imp, module+"/internal/"); ours {
		if !slices.Contains(may, other) {
			t.Errorf("%s must not import %s", room, other)
		}
	} else if std, ok := pure[room]; ok && !slices.Contains(std, imp) {
		t.Errorf("%s is pure and must not import %s", room, imp)
	}
	for prefix, owners := range only {
		if strings.HasPrefix(imp, prefix) && !slices.Contains(owners, room) {
			t.Errorf("%s must not import %s: only %v may", room, imp, owners)
		}
	}
}

func TestPureRoomsHaveNoClock(t *testing.T) {
	clocks := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for room := range pure {
		files, err := filepath.Glob(filepath.Join("internal", room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("find files of %s: %v", room, err)
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
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, s.Sel.Name) {
						t.Errorf("%s reads the clock (time.%s)", file, s.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// The receiver is small: beside the standard library it knows what OTLP looks like.
func TestReceiverIsSmall(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports " "}}`, "./receiver").Output()
	if err != nil {
		t.Fatal(err)
	}
	for imp := range strings.FieldsSeq(string(out)) {
		if strings.Contains(imp, ".") && !strings.HasPrefix(imp, "go.opentelemetry.io/proto/otlp/") && imp != "google.golang.org/protobuf/proto" {
			t.Errorf("receiver must not import %s", imp)
		}
	}
}
