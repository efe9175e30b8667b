// Package chart draws one rollout's story: the error rates of both versions with what is still possible, and the canary's weight.
package chart

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// ErrNothing is returned for a rollout that has had no traffic, or whose ticks are gone.
var ErrNothing = errors.New("there is nothing to draw")

// Options are how a chart looks; the zero value is light, 800 by 440.
type Options struct {
	Palette       Palette // zero: Light
	Width, Height int     // in pixels; 0: 800 and 440
}

// Draw writes the picture of a recorded rollout as SVG. The same tape gives the same bytes.
func Draw(w io.Writer, tape policy.Tape, o Options) error {
	s, err := read(tape)
	if err != nil {
		return fmt.Errorf("draw chart of %s: %w", tape.Rollout.ID, err)
	}
	if o.Palette == (Palette{}) {
		o.Palette = Light()
	}
	width, height := orElse(o.Width, 800), orElse(o.Height, 440)
	canvas := vgsvg.NewWith(vgsvg.UseWH(vg.Length(width), vg.Length(height)))
	c := draw.New(canvas)
	c.SetColor(o.Palette.Paper)
	c.Fill(c.Path())
	view{s, o.Palette}.draw(draw.Crop(c, 12, -72, 8, -12)) // at the right is room for the names of limits
	text := &strings.Builder{}
	if _, err := canvas.WriteTo(text); err != nil {
		return fmt.Errorf("draw chart of %s: %w", tape.Rollout.ID, err)
	}
	if _, err := io.WriteString(w, finish(text.String(), width, height, s)); err != nil {
		return fmt.Errorf("write chart of %s: %w", tape.Rollout.ID, err)
	}
	return nil
}

func orElse(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// finish gives the picture words for those who can not see it, and attributes in place of inline styles: the content
// security policy of a page that has it inside blocks those. The fonts are those that its widths were measured with, or
// like them.
func finish(svg string, width, height int, s story) string {
	_, body, _ := strings.Cut(svg, "<g ")
	style := regexp.MustCompile(`\s+style="([^"]*)"`)
	property := regexp.MustCompile(`([a-z-]+):([^;]+);?`)
	body = style.ReplaceAllStringFunc(body, func(found string) string {
		text := style.FindStringSubmatch(found)[1]
		if i := strings.Index(text, "font-size:"); i >= 0 {
			text = text[i:] // what stands before it are the font's names, which all texts have alike
		}
		return " " + strings.TrimSpace(property.ReplaceAllString(text, `$1="$2" `))
	})
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" font-family="%[3]s">
<title>%[4]s</title>
<desc>%[5]s</desc>
<g %[6]s`, width, height, "Liberation Sans, Arial, Helvetica, sans-serif", escape(s.title()), escape(s.description()), body)
}
