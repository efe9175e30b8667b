package static

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// script is what a shell script does, as far as its text says.
type script struct {
	calls   [][]string      // each command's words without quotes; what is expanded stands there as it is written
	reads   map[string]bool // variables that it does not set before
	outputs map[string]bool // names that it gives a step's outputs, by name=… or name<<…
}

// parse reads a script for bash.
func parse(text string) (script, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return script{}, err
	}
	s := script{reads: map[string]bool{}, outputs: map[string]bool{}}
	sets := map[string]bool{}
	syntax.Walk(file, func(node syntax.Node) bool {
		switch n := node.(type) {
		case *syntax.Assign:
			sets[n.Name.Value] = true
		case *syntax.WordIter:
			sets[n.Name.Value] = true
		case *syntax.CallExpr:
			s.call(n, sets)
		case *syntax.ParamExp:
			if n.Param != nil {
				s.reads[n.Param.Value] = true
			}
		}
		return true
	})
	for name := range s.reads {
		if sets[name] || !strings.ContainsAny(name[:1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			delete(s.reads, name) // the script's own, or one of $1, $@, $?
		}
	}
	return s, nil
}

func (s *script) call(n *syntax.CallExpr, sets map[string]bool) {
	var words []string
	for _, word := range n.Args {
		words = append(words, flat(word.Parts))
	}
	if len(words) == 0 {
		return
	}
	if words[0] == "read" {
		for _, word := range words[1:] {
			sets[word] = true
		}
	}
	if slices.Contains([]string{"exec", "env"}, words[0]) && len(words) > 1 {
		words = words[1:]
	}
	if words[0] == "echo" && len(words) == 2 {
		for _, mark := range []string{"=", "<<"} {
			if name, _, ok := strings.Cut(words[1], mark); ok && !strings.ContainsAny(name, " $<=") {
				s.outputs[name] = true
			}
		}
	}
	s.calls = append(s.calls, words)
}

// flat is a word without its quotes.
func flat(parts []syntax.WordPart) string {
	var text bytes.Buffer
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			text.WriteString(strings.ReplaceAll(p.Value, "\\\n", ""))
		case *syntax.SglQuoted:
			text.WriteString(p.Value)
		case *syntax.DblQuoted:
			text.WriteString(flat(p.Parts))
		default:
			_ = syntax.NewPrinter().Print(&text, &syntax.Word{Parts: []syntax.WordPart{part}}) // it was parsed; a buffer takes all
		}
	}
	return text.String()
}

func TestScriptsAreReadAsBashReadsThem(t *testing.T) {
	s, err := parse("for x in a; do make images \\\n  ARGS=\"--engine kind\" REGISTRY=\"$REGISTRY\"; done\n{ echo \"app=$(jq . f)\"; echo 'set<<end'; } >>\"$GITHUB_OUTPUT\"\nREAD=1; read -r LINE; echo \"$READ $LINE ${GIVEN:-x} $1 $x\"")
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"make", "images", "ARGS=--engine kind", "REGISTRY=$REGISTRY"}, {"echo", "app=$(jq . f)"}, {"jq", ".", "f"}, {"echo", "set<<end"}, {"read", "-r", "LINE"}, {"echo", "$READ $LINE ${GIVEN:-x} $1 $x"}}
	if !slices.EqualFunc(s.calls, want, slices.Equal) {
		t.Errorf("calls %q, want %q", s.calls, want)
	}
	if !s.outputs["app"] || !s.outputs["set"] || len(s.outputs) != 2 {
		t.Errorf("outputs %v", s.outputs)
	}
	if !s.reads["GIVEN"] || !s.reads["REGISTRY"] || !s.reads["GITHUB_OUTPUT"] || len(s.reads) != 3 {
		t.Errorf("reads %v", s.reads)
	}
}
