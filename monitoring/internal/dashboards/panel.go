package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Colours of Okabe and Ito (2008), which people with any kind of colour vision can tell apart. Each has one meaning.
const (
	blue      = "#0072B2" // the primary; good
	orange    = "#E69F00" // the canary; look here
	vermilion = "#D55E00" // bad
	green     = "#009E73"
	purple    = "#CC79A7"
	sky       = "#56B4E9"
	grey      = "#999999" // nothing to judge
)

// about is what every panel says of itself.
type about struct {
	id          uint32
	title, says string // says: one sentence what it shows, one what to do
	unit        string // of Grafana
	empty       string // shown in place of a value that is not there
	x, y, w, h  uint32 // place in a grid of 24 columns
}

// panel is what the builders of all kinds of panels can do.
type panel[B any] interface {
	Id(uint32) B
	Title(string) B
	Description(string) B
	Unit(string) B
	NoValue(string) B
	Datasource(common.DataSourceRef) B
	GridPos(dashboard.GridPos) B
	Targets([]cog.Builder[variants.Dataquery]) B
}

// with gives a panel what it says of itself, and its queries the names A, B, C.
func with[B panel[B]](builder B, a about, queries ...*prometheus.DataqueryBuilder) B {
	var targets []cog.Builder[variants.Dataquery]
	for i, q := range queries {
		targets = append(targets, q.RefId(string(rune('A'+i))).Datasource(source()))
	}
	return builder.Id(a.id).Title(a.title).Description(a.says).Unit(a.unit).NoValue(a.empty).
		Datasource(source()).
		GridPos(dashboard.GridPos{X: a.x, Y: a.y, W: a.w, H: a.h}).
		Targets(targets)
}

// over is a query along the time range.
func over(expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(expr).LegendFormat(legend).Range()
}

// now is a query at the end of the time range.
func now(expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(expr).LegendFormat(legend).Instant()
}

// lines is a panel of lines from zero up, or from below where a value is.
func lines(a about, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	return with(timeseries.NewPanelBuilder(), a, queries...).
		AxisSoftMin(0).
		LineWidth(2).
		FillOpacity(5).
		ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
}

// figure is a panel with one big number for each query, coloured by the thresholds.
func figure(a about, queries ...*prometheus.DataqueryBuilder) *stat.PanelBuilder {
	return with(stat.NewPanelBuilder(), a, queries...).
		GraphMode(common.BigValueGraphModeNone).
		ColorMode(common.BigValueColorModeValue).
		Orientation(common.VizOrientationAuto).
		ReduceOptions(last())
}

// bars is a panel of horizontal bars, one for each series.
func bars(a about, queries ...*prometheus.DataqueryBuilder) *bargauge.PanelBuilder {
	return with(bargauge.NewPanelBuilder(), a, queries...).
		Min(0).
		Orientation(common.VizOrientationHorizontal).
		DisplayMode(common.BarGaugeDisplayModeBasic).
		ReduceOptions(last())
}

// lanes is a panel with a lane for each series, whose values are states.
func lanes(a about, states dashboard.ValueMapping, queries ...*prometheus.DataqueryBuilder) *statetimeline.PanelBuilder {
	return with(statetimeline.NewPanelBuilder(), a, queries...).
		Mappings([]dashboard.ValueMapping{states}).
		MergeValues(true).
		ShowValue(common.VisibilityModeAuto).
		RowHeight(0.8).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true))
}

func last() *common.ReduceDataOptionsBuilder {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

// state is a value with its word and its colour.
type state struct{ value, word, colour string }

func states(all ...state) dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, s := range all {
		options[s.value] = dashboard.ValueMappingResult{Text: &s.word, Color: &s.colour, Index: cog.ToPtr(int32(i))}
	}
	return dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}
}

// step is a threshold: from this value on it is this colour.
type step struct {
	from   float64
	colour string
}

// thresholds begin with the colour of what is below the first step.
func thresholds(below string, steps ...step) *dashboard.ThresholdsConfigBuilder {
	all := []dashboard.Threshold{{Color: below}}
	for _, s := range steps {
		all = append(all, dashboard.Threshold{Value: &s.from, Color: s.colour})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(all)
}

// dashed draws the thresholds as lines across a panel.
func dashed() *common.GraphThresholdsStyleConfigBuilder {
	return common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)
}

// one colour for all of a panel.
func one(colour string) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdFixed).FixedColor(colour)
}

// fixed is the colour of one series, whatever others are there.
func fixed(colour string) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{{Id: "color", Value: map[string]string{"mode": "fixed", "fixedColor": colour}}}
}

// broken makes a line of strokes and gaps, in pixels.
func broken(stroke, gap int) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{stroke, gap}}}}
}

// versions gives canary and primary their colours, in every panel the same.
func versions(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return p.OverrideByRegexp("/^canary/", fixed(orange)).OverrideByRegexp("/^primary/", fixed(blue))
}

// mark is an annotation: a line across the panels at each moment, or a band along each stretch, that the query has values for.
func mark(name, colour, expr, text string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().
		Name(name).
		Datasource(source()).
		IconColor(colour).
		Expr(expr).
		Step("15s").
		TitleFormat(name).
		TextFormat(text)
}
