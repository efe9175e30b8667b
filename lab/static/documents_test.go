package static

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// markdown is what can be linked in a document: where it leads, and the anchors of its headings.
type markdown struct{ links, anchors []string }

// address finds what raw HTML leads to or shows.
var address = regexp.MustCompile(`\b(?:href|src|srcset)="([^"]*)"`)

// readMarkdown reads a document as GitHub shows it.
func readMarkdown(source []byte) (m markdown) {
	ids := &anchors{taken: map[string]int{}}
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID())).
		Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext(parser.WithIDs(ids))))
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // no walker fails
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			m.links = append(m.links, string(n.Destination))
		case *ast.Image:
			m.links = append(m.links, string(n.Destination))
		case *ast.RawHTML:
			m.links = append(m.links, addresses(n.Segments, source)...)
		case *ast.HTMLBlock:
			m.links = append(m.links, addresses(n.Lines(), source)...)
		}
		return ast.WalkContinue, nil
	})
	m.anchors = ids.all
	return m
}

func addresses(lines *text.Segments, source []byte) (all []string) {
	for _, found := range address.FindAllStringSubmatch(string(lines.Value(source)), -1) {
		all = append(all, found[1])
	}
	return all
}

// anchors names headings as GitHub does: small letters, digits, - and _, spaces as -, and a number where one comes again.
type anchors struct {
	taken map[string]int
	all   []string
}

func (a *anchors) Generate(heading []byte, _ ast.NodeKind) []byte {
	name := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		default:
			return -1
		}
	}, strings.TrimSpace(string(heading)))
	again := a.taken[name]
	a.taken[name]++
	if again > 0 {
		name = fmt.Sprintf("%s-%d", name, again)
	}
	a.all = append(a.all, name)
	return []byte(name)
}

func (a *anchors) Put([]byte) {}

// books are the documents of the repository by their path in it, without what tests and builds lay down.
func books(t *testing.T) map[string]markdown {
	t.Helper()
	all := map[string]markdown{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (slices.Contains([]string{"build", "node_modules", "testdata"}, base) || base[0] == '.' && base != ".github"):
			return fs.SkipDir
		case !entry.IsDir() && path.Ext(name) == ".md":
			source, err := os.ReadFile(filepath.Join(root, name))
			all[name] = readMarkdown(source)
			return err
		}
		return nil
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("read the repository's documents: %d, %v", len(all), err)
	}
	return all
}

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	all := books(t)
	for name, document := range all {
		for _, link := range document.links {
			if trouble := follow(all, name, link); trouble != "" {
				t.Errorf("%s: the link %s: %s", name, link, trouble)
			}
		}
	}
}

// follow is why a link of a document leads nowhere; "" where it does, or leads out of the repository.
func follow(all map[string]markdown, from, link string) string {
	to, err := url.Parse(link)
	if err != nil {
		return err.Error()
	}
	if to.Scheme != "" || to.Host != "" {
		return ""
	}
	name := from
	if to.Path != "" {
		name = path.Join(path.Dir(from), to.Path)
	}
	if _, err := os.Stat(filepath.Join(root, name)); err != nil || strings.HasPrefix(name, "..") {
		return "there is no such file in the repository"
	}
	if to.Fragment != "" && path.Ext(name) == ".md" && !slices.Contains(all[name].anchors, to.Fragment) {
		return "there is no such heading"
	}
	return ""
}

func TestFollow(t *testing.T) {
	all := map[string]markdown{
		"README.md":      readMarkdown([]byte("# One\n## Two `words`, and more\n## One\n")),
		"docs/policy.md": readMarkdown([]byte("[a](../README.md#one-1) ![b](no.png)\n\n<img src=\"x.webp\">\n")),
	}
	if want := []string{"../README.md#one-1", "no.png", "x.webp"}; !slices.Equal(all["docs/policy.md"].links, want) {
		t.Errorf("links are %v, want %v", all["docs/policy.md"].links, want)
	}
	for link, leads := range map[string]bool{
		"../README.md": true, "../README.md#two-words-and-more": true, "../README.md#one-1": true, "https://example.org/": true, "../helm": true,
		"../README.md#three": false, "../README.md#one-2": false, "no.png": false, "#one": false, "../../README.md": false, "https://[": false,
	} {
		if got := follow(all, "docs/policy.md", link) == ""; got != leads {
			t.Errorf("%s leads somewhere: %t, want %t", link, got, leads)
		}
	}
}

// TestTheIndexHasEveryDocument: what docs/README.md does not name nobody finds.
func TestTheIndexHasEveryDocument(t *testing.T) {
	all := books(t)
	for name := range all {
		named := slices.ContainsFunc(all["docs/README.md"].links, func(link string) bool {
			link, _, _ = strings.Cut(link, "#")
			return path.Join("docs", link) == name
		})
		if !named && name != "docs/README.md" {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}

// What docs/security.md names as proof of something is a test that there is.
func TestTheProofsOfTheThreatModelExist(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		for _, name := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(read(t, file), -1) {
			there[name[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(read(t, filepath.Join(root, "docs", "security.md")), -1)
	if len(named) < 30 {
		t.Fatalf("only %d proofs were found", len(named))
	}
	for _, name := range named {
		if !there[name[1]] {
			t.Errorf("docs/security.md names %s, which there is not", name[1])
		}
	}
}
