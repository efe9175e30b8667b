package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
	dom "golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// named is a rollout in which every text that comes from others is name.
func named(name string) policy.Tape {
	r := rolledBack()
	r.ID, r.Canary, r.Policy = name, rollout.Key{Namespace: name, Name: name}, name
	r.Revision = rollout.Revision{Hash: name, DeployID: name, Image: name, Commit: "c" + name, Note: "n" + name, Traceparent: name} // without a commit or note there is no row for it
	r.Stable = rollout.Revision{Hash: name, Image: name}
	r.Changes = []rollout.Difference{{What: name, From: name, To: name}}
	r.Decisions = []rollout.Decision{{Kind: rollout.Abort, By: name, Claims: name, Via: name, Why: name, At: start}}
	r.Verdict.Reasons = []rollout.Reason{{Kind: "error-rate", Text: name}, {Kind: "blind", Text: name}}
	r.Timeline = []rollout.Event{{At: start, Source: "flagger", Text: name}}
	r.Latest.Latency = &rollout.Latency{Bounds: []float64{1}, Canary: []uint64{1, 2}, Primary: []uint64{1, 2}}
	r.Failing = []rollout.Failing{{Trace: strings.Repeat("ab", 16), At: start, Status: name, Route: name}}
	rules := policy.Default()
	rules.SLO.Good, rules.Metrics.Duration = []string{name}, name
	return policy.Tape{Seq: 7, Hash: strings.Repeat("0f", 32), Rollout: r, Rules: rules}
}

// seen is what a reader of the rendered entry has before them.
type seen struct {
	elements map[string]int
	headings []string
	tables   [][][]string // rows of cells
	items    []string     // of lists
	comments []string
}

// see renders the entry as GitHub does, raw HTML included, and takes it in.
func see(t interface{ Fatal(...any) }, markdown []byte) seen {
	page := &bytes.Buffer{}
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe())).Convert(markdown, page); err != nil {
		t.Fatal(err)
	}
	root, err := dom.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	s := seen{elements: map[string]int{}}
	for n := range root.Descendants() {
		switch n.Type {
		case dom.CommentNode:
			s.comments = append(s.comments, n.Data)
		case dom.ElementNode:
			s.elements[n.Data]++
			s.take(n)
		}
	}
	return s
}

func (s *seen) take(n *dom.Node) {
	last := len(s.tables) - 1
	switch n.Data {
	case "h1", "h2", "h3":
		s.headings = append(s.headings, n.Data+" "+words(n))
	case "li":
		s.items = append(s.items, words(n))
	case "table":
		s.tables = append(s.tables, nil)
	case "tr":
		s.tables[last] = append(s.tables[last], nil)
	case "td", "th":
		row := len(s.tables[last]) - 1
		s.tables[last][row] = append(s.tables[last][row], words(n))
	}
}

func words(n *dom.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == dom.TextNode {
			text.WriteString(d.Data)
		}
	}
	return text.String()
}

// check fails when the entry of a rollout with that name is built otherwise than that of a plain one, or does not show the
// name as it is.
func check(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, name string,
) {
	entry, plain := &bytes.Buffer{}, &bytes.Buffer{}
	to := trace.Links{Template: "https://traces.example/{trace_id}", Rollouts: true}
	if err := Write(entry, named(name), "rollouts/x.svg", to); err != nil {
		t.Fatal(err)
	}
	if err := Write(plain, named("plain"), "rollouts/x.svg", to); err != nil {
		t.Fatal(err)
	}
	got, want := see(t, entry.Bytes()), see(t, plain.Bytes())
	if fmt.Sprint(got.elements) != fmt.Sprint(want.elements) {
		t.Fatalf("elements %v, want %v\n%s", got.elements, want.elements, entry)
	}
	if len(got.comments) != 1 || got.elements["img"] != 1 || got.elements["strong"] != 1 || got.elements["a"] != 2 {
		t.Fatalf("it has other parts: %v and comments %q", got.elements, got.comments)
	}
	shape := func(s seen) (rows [][]int) {
		for _, table := range s.tables {
			var cells []int
			for _, row := range table {
				cells = append(cells, len(row))
			}
			rows = append(rows, cells)
		}
		return rows
	}
	if fmt.Sprint(shape(got)) != fmt.Sprint(shape(want)) || len(got.headings) != len(want.headings) || !slices.Equal(got.headings[1:], want.headings[1:]) || len(got.items) != 2 {
		t.Fatalf("built as %v with %q, want %v with %q\n%s", shape(got), got.headings, shape(want), want.headings, entry)
	}
	shown := oneLine(name)
	if shown == "" {
		shown = "–"
	}
	facts, changed, timeline := got.tables[0], got.tables[1], got.tables[len(got.tables)-1]
	for what, cell := range map[string]string{
		"id": facts[1][1], "image": facts[2][1], "stable image": facts[3][1], "deploy id": facts[4][1], "changed": changed[1][0], "before": changed[1][1], "now": changed[1][2], "event": timeline[1][2],
	} {
		if cell != shown {
			t.Fatalf("%s reads %q, want %q", what, cell, shown)
		}
	}
	if got.items[0] != "error-rate: "+shown {
		t.Fatalf("the reason reads %q", got.items[0])
	}
}

var hostile = []string{
	"", " ", "plain", "x |\n<script>alert(1)</script> [a](javascript:b) `c` **d**", "line\r\n| forged | row |\n\n## forged heading\n", "--> <b>", "<!-- -->", "\\", "\\|", "|", "||", "`|`", "``",
	"https://example.org/a?b=c&d", "see http://x.y", "www.example.org", "WWW.EXAMPLE.ORG", "Www.example.org", "a@b.example", "mailto:a@b.example", "xmpp:a@b.example/c", "ftp://x.example", "<https://x.example>",
	"![i](u)", "[r]: /url", "[x]", "[ ] task", "- [x] done", "~~gone~~", "*e* _f_ __g__", "a_b_c", "# h", "h #", "1. one", "- item", "+ item", "> quote", "    code", "\tcode", "```\nfence", "---", "===", "$x$",
	"&amp;", "&#x3c;b&#x3e;", "&copy;", "\x00\x01\x1b[31m\x7f", "\u202egnp.exe", "\u200b", "\ufeff", "a\u2028b\u2029c", "\u00a0", "\xff\xfe", "日本語 | 😀", "é\u0301", "{{.ID}}", "%s%n", "a\\", "**", "*", "_",
	"end!", "x<br>y", "\u0085", strings.Repeat("long | ", 2000), strings.Repeat("[", 3000), strings.Repeat("*_", 1000), strings.Repeat("ü", 700),
}

func TestHostileNames(t *testing.T) {
	for _, name := range hostile {
		t.Run(fmt.Sprintf("%.20q", name), func(t *testing.T) { check(t, name) })
	}
}

// Any mixture of them is text too.
func TestMixedNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(hostile[:len(hostile)-4]), rapid.StringN(0, 5, 20)), 1, 6).Draw(t, "parts")
		check(t, strings.Join(parts, rapid.SampledFrom([]string{"", " ", "\\"}).Draw(t, "between")))
	})
}

func FuzzNames(f *testing.F) {
	for _, name := range hostile {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { check(t, name) })
}

// Marks keep apart what is apart, and end nothing.
func TestMarks(t *testing.T) {
	seen := map[string]string{}
	for _, id := range append(slices.Clone(hostile), "a--b", "a- -b", "a%20b", "a b") {
		mark := Mark(id)
		if strings.Count(mark, ">") != 1 || strings.ContainsAny(mark, "\r\n") || len(strings.Fields(mark)) != 4 && id != "" {
			t.Errorf("the mark of %q is %q", id, mark)
		}
		if other, taken := seen[mark]; taken {
			t.Errorf("%q and %q have the same mark", id, other)
		}
		seen[mark] = id
	}
	if Mark("demo-podinfo-6f9c-1767323045") != "<!-- rollout demo-podinfo-6f9c-1767323045 -->" {
		t.Error("the mark of a plain id is changed")
	}
}

// A rollout may have nothing to tell: no traffic, no verdict, no changes.
func TestEntryOfARolloutWithoutTraffic(t *testing.T) {
	r := rollout.New(rollout.Canary{Key: rollout.Key{Namespace: "demo", Name: "podinfo"}, Revision: rollout.Revision{Hash: "new"}}, start)
	r.End(rollout.Superseded, rollout.Progressing, start.Add(26*time.Hour))
	entry := &bytes.Buffer{}
	if err := Write(entry, policy.Tape{Rollout: r, Rules: policy.Default()}, "", trace.Links{}); err != nil {
		t.Fatal(err)
	}
	s := see(t, entry.Bytes())
	if s.elements["img"] != 0 || len(s.tables) != 3 || len(s.items) != 0 {
		t.Errorf("elements %v, %d tables", s.elements, len(s.tables))
	}
	for _, want := range []string{"The canary had no traffic.", "Nothing was judged.", "nothing was served", "| ended | 2026-01-03 05:04:05.678 |"} {
		if !strings.Contains(entry.String(), want) {
			t.Errorf("entry lacks %q:\n%s", want, entry)
		}
	}
}
