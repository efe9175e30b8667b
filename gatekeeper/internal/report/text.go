package report

import (
	"strings"
	"unicode"
)

// maxText bounds one text, in characters: a longer one makes a table unreadable.
const maxText = 600

// text makes names and messages of others plain text in Markdown: no table cell, link, tag, emphasis or line ends or begins
// in them, and nothing becomes a link by looking like one. What does not print is shown as such.
func text(s string) string {
	if s = oneLine(s); s == "" {
		return "–"
	}
	// A backslash makes any ASCII punctuation itself (spec.commonmark.org/0.31.2/#backslash-escapes). Of an address one
	// mark is enough for it to be none (github.github.com/gfm/#autolinks-extension-).
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]",
		"`", "\\`", "~", "\\~", "#", "\\#", "$", "\\$", "://", "\\://", "@", "\\@", "www.", "www\\.", "WWW.", "WWW\\.").Replace(s)
}

// oneLine is s without what breaks lines or hides, not longer than maxText.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		default:
			return r
		}
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxText {
		s = string(runes[:maxText-1]) + "…"
	}
	return s
}
