package chart

import (
	"image/color"
	"math"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Heights: of what stands above the panels, of the gap between them, and the lower panel's share.
const (
	heading = 52
	gap     = 10
	lower   = .3
)

// view is a story in colours.
type view struct {
	story
	p Palette
}

// draw puts heading, error rates and weight under one another, on one time axis.
func (v view) draw(c draw.Canvas) {
	v.heading(c)
	body := draw.Crop(c, 0, 0, 0, -heading)
	height := body.Max.Y - body.Min.Y
	above, below := body, body
	above.Min.Y += lower*height + gap
	below.Max.Y = below.Min.Y + lower*height
	rates, weight := v.rates(), v.weights()
	// Labels of different length must not shift one panel's times against the other's.
	a, b := rates.DataCanvas(above), weight.DataCanvas(below)
	left, right := max(a.Min.X, b.Min.X), min(a.Max.X, b.Max.X)
	above.Min.X, above.Max.X = above.Min.X+left-a.Min.X, above.Max.X+right-a.Max.X
	below.Min.X, below.Max.X = below.Min.X+left-b.Min.X, below.Max.X+right-b.Max.X
	rates.Draw(above)
	weight.Draw(below)
}

// heading names the rollout and explains the colours.
func (v view) heading(c draw.Canvas) {
	c.FillText(v.text(14, v.p.Ink, draw.XLeft, draw.YTop), vg.Point{X: c.Min.X, Y: c.Max.Y}, v.title())
	at := vg.Point{X: c.Min.X, Y: c.Max.Y - 30}
	key := func(name string, sign func(left, right vg.Length)) {
		const width = 22
		sign(at.X, at.X+width)
		style := v.text(11, v.p.Faint, draw.XLeft, draw.YCenter)
		c.FillText(style, vg.Point{X: at.X + width + 6, Y: at.Y}, name)
		at.X += width + 6 + style.Width(name) + 18
	}
	line := func(style draw.LineStyle) func(left, right vg.Length) {
		return func(left, right vg.Length) { c.StrokeLine2(style, left, at.Y, right, at.Y) }
	}
	key("canary, since first traffic", line(stroke(v.p.Canary, 2)))
	key("95 % band", func(left, right vg.Length) {
		c.FillPolygon(thin(v.p.Canary, band), []vg.Point{{X: left, Y: at.Y - 5}, {X: right, Y: at.Y - 5}, {X: right, Y: at.Y + 5}, {X: left, Y: at.Y + 5}})
	})
	key("primary", line(stroke(v.p.Primary, 1.6)))
}

// How much areas cover of what is under them, of 255.
const (
	band   = 46
	stairs = 72
	veil   = 215 // behind words
)

// panel is an empty plot over the story's time.
func (v view) panel(title string, named bool) *plot.Plot {
	l := plot.New()
	l.BackgroundColor = color.Transparent
	l.X.Min, l.X.Max = 0, v.end
	l.X.Tick.Marker = plot.TickerFunc(func(_, end float64) []plot.Tick { return v.times(end, named) })
	l.Y.Label.Text = title
	for _, axis := range []*plot.Axis{&l.X, &l.Y} {
		axis.Padding = 0
		axis.LineStyle = stroke(v.p.Faint, .8)
		axis.Tick.LineStyle = axis.LineStyle
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans(11), v.p.Faint
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = sans(11), v.p.Faint
		axis.Label.Padding = 4
		axis.Tick.Length = 5
	}
	l.Add(painter(v.grid))
	return l
}

// rates is the upper panel.
func (v view) rates() *plot.Plot {
	l := v.panel("bad responses", false)
	l.Y.Min, l.Y.Max, l.Y.Scale = 0, v.top, root{}
	l.Y.Tick.Marker = plot.TickerFunc(func(_, top float64) []plot.Tick { return shares(top) })
	l.Add(painter(v.possible), painter(v.limits), painter(v.lines), painter(v.moments))
	return l
}

// weights is the lower panel.
func (v view) weights() *plot.Plot {
	l := v.panel("weight", true)
	l.X.Label.Text = "time, UTC"
	l.Y.Min, l.Y.Max = 0, 100
	l.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0 %"}, {Value: 50, Label: "50 %"}, {Value: 100, Label: "100 %"}}
	l.Add(painter(v.staircase))
	return l
}

// painter is a function that draws on a plot.
type painter func(c draw.Canvas, l *plot.Plot)

// Plot is part of plot.Plotter.
func (f painter) Plot(c draw.Canvas, l *plot.Plot) { f(c, l) }

// grid has a line for each label.
func (v view) grid(c draw.Canvas, l *plot.Plot) {
	x, y := l.Transforms(&c)
	for _, t := range l.X.Tick.Marker.Ticks(l.X.Min, l.X.Max) {
		c.StrokeLine2(stroke(v.p.Grid, .8), x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
	}
	for _, t := range l.Y.Tick.Marker.Ticks(l.Y.Min, l.Y.Max) {
		c.StrokeLine2(stroke(v.p.Grid, .8), c.Min.X, y(t.Value), c.Max.X, y(t.Value))
	}
}

// possible is the band of what the canary's error rate may be.
func (v view) possible(c draw.Canvas, l *plot.Plot) {
	x, y := l.Transforms(&c)
	var area []vg.Point
	for _, p := range v.canary {
		area = append(area, vg.Point{X: x(p.at), Y: y(min(p.high, v.top))})
	}
	for _, p := range slices.Backward(v.canary) {
		area = append(area, vg.Point{X: x(p.at), Y: y(min(p.low, v.top))})
	}
	if len(v.canary) > 1 {
		c.FillPolygon(thin(v.p.Canary, band), area)
	}
}

// limits are the objective and the hard limit of the first minutes, with their names at the right.
func (v view) limits(c draw.Canvas, l *plot.Plot) {
	x, y := l.Transforms(&c)
	rules := v.tape.Rules
	objective, hard := 100-rules.SLO.Objective, rules.FailFast.ErrorRate
	shift := vg.Length(0) // apart, where both names would be on one another
	if math.Abs(float64(y(hard)-y(objective))) < 13 {
		shift = 7
	}
	for _, limit := range []struct {
		name  string
		share float64
		to    float64
		color color.NRGBA
		shift vg.Length
	}{
		{"SLO " + percent(objective), objective, v.end, v.p.Objective, -shift},
		{"fail " + percent(hard), hard, min(v.end, rules.FailFast.Within.Seconds()), v.p.Fail, shift},
	} {
		style := stroke(limit.color, 1.4)
		style.Dashes = []vg.Length{6, 4}
		c.StrokeLine2(style, c.Min.X, y(limit.share), x(limit.to), y(limit.share))
		c.FillText(v.text(11, limit.color, draw.XLeft, draw.YCenter), vg.Point{X: c.Max.X + 6, Y: y(limit.share) + limit.shift + 2}, limit.name)
	}
}

// lines are both versions' error rates.
func (v view) lines(c draw.Canvas, l *plot.Plot) {
	x, y := l.Transforms(&c)
	line := func(points []point, style draw.LineStyle) {
		var path []vg.Point
		for _, p := range points {
			path = append(path, vg.Point{X: x(p.at), Y: y(min(p.rate, v.top))})
		}
		c.StrokeLines(style, path)
	}
	line(v.primary, stroke(v.p.Primary, 1.6))
	line(v.canary, stroke(v.p.Canary, 2))
}

// moments are upright lines with words at their top, each in the first row where it has room.
func (v view) moments(c draw.Canvas, l *plot.Plot) {
	x, _ := l.Transforms(&c)
	colours := map[kind]color.NRGBA{verdict: v.p.Fail, decision: v.p.Decision, ending: v.p.Ink}
	for _, m := range v.marks {
		c.StrokeLine2(stroke(colours[m.kind], 1.2), x(m.at), c.Min.Y, x(m.at), c.Max.Y)
	}
	const row, rows, apart = 15, 4, 6
	var taken [rows]vg.Length // where each row's last words begin, from right to left
	for i := range taken {
		taken[i] = c.Max.X + apart
	}
	for _, m := range v.marks {
		style := v.text(11, colours[m.kind], draw.XLeft, draw.YTop)
		width := style.Width(m.text)
		begin := x(m.at) - 4 - width
		i := max(slices.IndexFunc(taken[:], func(left vg.Length) bool { return begin+width+apart <= left }), 0)
		taken[i] = begin
		if begin < c.Min.X { // at the very left the words stand at the other side
			begin = x(m.at) + 4
		}
		top := c.Max.Y - 3 - row*vg.Length(i)
		c.SetColor(thin(v.p.Paper, veil))
		c.Fill(vg.Rectangle{Min: vg.Point{X: begin - 2, Y: top - 13}, Max: vg.Point{X: begin + width + 2, Y: top + 1}}.Path())
		c.FillText(style, vg.Point{X: begin, Y: top}, m.text)
	}
}

// staircase is the canary's weight.
func (v view) staircase(c draw.Canvas, l *plot.Plot) {
	x, y := l.Transforms(&c)
	path := []vg.Point{{X: c.Min.X, Y: y(0)}}
	at := 0.0
	for _, s := range v.stairs {
		if s.from > at {
			path = append(path, vg.Point{X: x(at), Y: y(0)}, vg.Point{X: x(s.from), Y: y(0)})
		}
		path = append(path, vg.Point{X: x(s.from), Y: y(s.weight)}, vg.Point{X: x(s.to), Y: y(s.weight)})
		at = s.to
	}
	path = append(path, vg.Point{X: x(at), Y: y(0)}, vg.Point{X: c.Max.X, Y: y(0)})
	c.FillPolygon(thin(v.p.Canary, stairs), path)
	c.StrokeLines(stroke(v.p.Canary, 1.6), path)
	for _, s := range v.stairs {
		name, style := percent(s.weight), v.text(11, v.p.Ink, draw.XCenter, draw.YBottom)
		place := vg.Point{X: (x(s.from) + x(s.to)) / 2, Y: y(s.weight) + 3}
		if s.weight > 70 {
			style.YAlign, place.Y = draw.YTop, y(s.weight)-4
		}
		if x(s.to)-x(s.from) > style.Width(name)+4 {
			c.FillText(style, place, name)
		}
	}
}

// shares label the scale of rates, with as many as can be told apart.
func shares(top float64) (ticks []plot.Tick) {
	const apart = .1 // of the height
	last := math.Inf(1)
	for _, share := range []float64{100, 50, 30, 20, 10, 5, 3, 2, 1, .5, .2, .1, 0} {
		if place := math.Sqrt(share / top); share <= top && last-place >= apart {
			ticks, last = append(ticks, plot.Tick{Value: share, Label: percent(share)}), place
		}
	}
	return ticks
}

// percent has at most three digits after the point: 100 - 99.9 is not quite 0.1.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(1000*share)/1000, 'f', -1, 64) + " %"
}

// times label the time axis at round moments, at most nine.
func (v view) times(end float64, named bool) (ticks []plot.Tick) {
	const most = 8
	span := time.Duration(end * float64(time.Second))
	step := 24 * time.Hour * (1 + span/(most*24*time.Hour))
	for _, round := range []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour,
	} {
		if span/round <= most {
			step = round
			break
		}
	}
	format := "15:04"
	switch {
	case step < time.Minute:
		format = "15:04:05"
	case step > 4*time.Hour:
		format = "2 Jan 15:04"
	}
	for at := v.begin.UTC().Truncate(step); !at.After(v.begin.Add(span)); at = at.Add(step) {
		if x := at.Sub(v.begin).Seconds(); x >= 0 {
			tick := plot.Tick{Value: x, Label: " "}
			if named {
				tick.Label = at.Format(format)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

func (v view) text(size vg.Length, c color.Color, x draw.XAlignment, y draw.YAlignment) draw.TextStyle {
	return draw.TextStyle{Color: c, Font: sans(size), XAlign: x, YAlign: y, Handler: text.Plain{Fonts: font.DefaultCache}}
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

func stroke(c color.Color, width vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: width}
}
