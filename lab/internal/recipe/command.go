package recipe

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Command is one call of a program.
type Command struct {
	Line int      // in the block, from 1
	Name string   // of the program, without folders
	Args []string // what the shell would expand is as it is written
}

// Commands are all calls in a block, those in pipes and substitutions too. The error says where it is no shell.
func Commands(block string) ([]Command, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(block), "")
	if err != nil {
		return nil, fmt.Errorf("read as shell: %w", err)
	}
	var all []Command
	syntax.Walk(file, func(n syntax.Node) bool {
		call, is := n.(*syntax.CallExpr)
		if !is || len(call.Args) == 0 {
			return true
		}
		var words []string
		for _, word := range call.Args {
			from, to := word.Pos().Offset(), word.End().Offset()
			words = append(words, strings.Trim(block[from:to], `"'`))
		}
		all = append(all, Command{Line: int(call.Pos().Line()), Name: path.Base(words[0]), Args: words[1:]})
		return true
	})
	return all, nil
}

// Unknown is what a program's help does not have of these arguments: the first word that is no subcommand where there
// are some, or the flags that are not listed. Help gives the text of "--help" after subcommands. A group of commands may
// have one that needs not be named, so the flags of all in it count.
func Unknown(args []string, help func(subcommands []string) (string, error)) ([]string, error) {
	var sub, unknown []string
	text, err := help(nil)
	if err != nil {
		return nil, err
	}
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		if !has(text, strings.Join(append(sub, arg), " ")) {
			if len(sub) == 0 {
				unknown = append(unknown, arg)
			}
			break
		}
		sub = append(sub, arg)
	}
	flags := ""
	for _, command := range append([][]string{sub}, below(text, sub)...) {
		more, err := help(command)
		if err != nil {
			return nil, err
		}
		flags += more
	}
	for _, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(flag, "-") && flag != "-" && flag != "--" && flag != "--help" && !listed(flags, flag) {
			unknown = append(unknown, flag)
		}
	}
	return unknown, nil
}

// below are the commands that help lists under sub, in lines "  bench ratios [<what> …] [flags]" indented by two.
func below(help string, sub []string) (all [][]string) {
	for line := range strings.Lines(help) {
		if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") {
			continue
		}
		var words []string
		for word := range strings.FieldsSeq(line) {
			if strings.ContainsAny(word, "<[-=") {
				break
			}
			words = append(words, word)
		}
		if len(words) > len(sub) && slices.Equal(words[:len(sub)], sub) {
			all = append(all, words)
		}
	}
	return all
}

// has reports whether help lists the subcommand, in a line "  verify [<file> ...] [flags]".
func has(help, sub string) bool {
	for line := range strings.Lines(help) {
		if line = strings.TrimSpace(line); line == sub || strings.HasPrefix(line, sub+" ") {
			return true
		}
	}
	return false
}

// listed reports whether help has the flag, in a line "  -n, --namespace=STRING    The …".
func listed(help, flag string) bool {
	for line := range strings.Lines(help) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "-") {
			continue
		}
		words := strings.FieldsFunc(strings.ReplaceAll(line, "[no-]", ""), func(r rune) bool { return strings.ContainsRune(" ,=[", r) })
		for _, word := range words[:min(2, len(words))] {
			if word == flag || strings.Replace(flag, "--no-", "--", 1) == word {
				return true
			}
		}
	}
	return false
}
