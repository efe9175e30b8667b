// Package recipe reads the shell commands of documents: which are to be run, where, and as what script.
package recipe

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// Block is one fenced block of shell commands.
type Block struct {
	Line    int    // of its first command, from 1
	Heading string // of the section that it is in
	Text    string // ends with a newline
	Env     string // the environment to run it in; "" is none
	Exit    int    // the code that its last command must end with
	Reason  string // why it is not run; "" where it is
}

// mark is the comment before a block: "run: ENV", "run: ENV; exit N" or "not run: reason".
var mark = regexp.MustCompile(`^<!-- (?:run: ([a-z]+)(?:; exit (\d+))?|not run: (.+)) -->$`)

// programs begin the lines that are commands, also where a block does not say that it is one.
var programs = regexp.MustCompile(`(?m)^ *(?:\$ )?(?:kubectl|helm|make|gatekeeper|loadgen|curl|docker|(?:build/)?lab) `)

// Blocks returns the shell blocks of a document in their order. The error names each block that has no mark, or no
// language though it has commands.
func Blocks(source []byte) ([]Block, error) {
	var blocks []Block
	var faults []error
	heading := ""
	fail := func(line int, what string) { faults = append(faults, fmt.Errorf("line %d: %s", line, what)) }
	_ = ast.Walk(goldmark.DefaultParser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) { // no walker fails
		if !entering {
			return ast.WalkContinue, nil
		}
		if h, is := n.(*ast.Heading); is {
			heading = string(h.Lines().Value(source))
		}
		fenced, is := n.(*ast.FencedCodeBlock)
		if !is || fenced.Lines().Len() == 0 {
			return ast.WalkContinue, nil
		}
		lines := fenced.Lines()
		b := Block{Line: 1 + strings.Count(string(source[:lines.At(0).Start]), "\n"), Heading: heading, Text: string(lines.Value(source))}
		switch language := string(fenced.Language(source)); {
		case language == "" && programs.MatchString(b.Text):
			fail(b.Line, "commands in a block without a language: make it ```sh")
		case slices.Contains([]string{"bash", "shell", "console"}, language):
			fail(b.Line, "a block of "+language+": make it ```sh")
		case language == "sh":
			if err := b.read(comment(n.PreviousSibling(), source)); err != nil {
				fail(b.Line, err.Error())
			}
			blocks = append(blocks, b)
		}
		return ast.WalkContinue, nil
	})
	return blocks, errors.Join(faults...)
}

// comment is the HTML that stands alone before a block.
func comment(n ast.Node, source []byte) string {
	html, is := n.(*ast.HTMLBlock)
	if !is {
		return ""
	}
	return strings.TrimSpace(string(html.Lines().Value(source)))
}

func (b *Block) read(comment string) error {
	found := mark.FindStringSubmatch(comment)
	if found == nil {
		return errors.New("write <!-- run: ENVIRONMENT --> or <!-- not run: reason --> before the block")
	}
	b.Env, b.Reason = found[1], found[3]
	if found[2] != "" {
		b.Exit, _ = strconv.Atoi(found[2]) // digits
	}
	return nil
}

// forward finds the port of this machine that a port-forward opens.
var forward = regexp.MustCompile(`port-forward \S+ (\d+)`)

// Script is Bash that runs those blocks of a document that belong to env, one after the other, up to the first command
// that fails. It writes "begin N" and "end N" to file descriptor 3 for the N-th of blocks, and ends what it left running.
// It calls await PORT, which the environment has, after a port-forward.
func Script(blocks []Block, env string) string {
	var s strings.Builder
	s.WriteString("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	for i, b := range blocks {
		if b.Env != env {
			continue
		}
		fmt.Fprintf(&s, "echo begin %d >&3\n", i)
		if b.Exit == 0 {
			s.WriteString(b.Text)
		} else {
			fmt.Fprintf(&s, "set +e\n%scode=$?\nset -e\n[ $code = %d ] || { echo \"exit code $code, want %[2]d\" >&2; exit 1; }\n", b.Text, b.Exit)
		}
		for _, found := range forward.FindAllStringSubmatch(b.Text, -1) {
			fmt.Fprintf(&s, "await %s\n", found[1])
		}
		fmt.Fprintf(&s, "echo end %d >&3\n", i)
	}
	return s.String()
}

// Spans are the pieces of code in a document's sentences.
func Spans(source []byte) []string {
	var all []string
	_ = ast.Walk(goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) { // no walker fails
		if span, is := n.(*ast.CodeSpan); is && entering {
			var words strings.Builder
			for piece := span.FirstChild(); piece != nil; piece = piece.NextSibling() {
				if t, is := piece.(*ast.Text); is {
					words.Write(t.Value(source))
				}
			}
			all = append(all, words.String())
		}
		return ast.WalkContinue, nil
	})
	return all
}
