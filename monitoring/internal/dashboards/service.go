package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// ofPods selects the pods of the chosen Canary: Flagger gives its copy of the Deployment the name with -primary.
const ofPods = `namespace="$namespace",app=~"$canary(-primary)?"`

// service says how one service does: rate, errors, duration, each version for itself, and what explains them.
func service() *dashboard.DashboardBuilder {
	return board("Service", "How one service does, version by version: requests, errors, duration, and the pods, load and faults behind them.", "now-1h").
		Annotation(mark("Chaos plan", purple, `max(chaos_plan_active{`+ofPods+`}) == 1`, "faults are being injected")).
		WithPanel(requests()).
		WithPanel(failures()).
		WithPanel(answers()).
		WithPanel(latency()).
		WithPanel(running()).
		WithPanel(pods()).
		WithPanel(load()).
		WithPanel(faults())
}

// byVersion sums by the version that the pod's name of the app tells, and by more labels.
func byVersion(vector, more string) string {
	return fmt.Sprintf(`sum by (version%s) (label_replace(label_replace(%s, "version", "canary", "app", "$canary"), "version", "primary", "app", "$canary-primary"))`, more, vector)
}

// rate is what a counter of the app's pods gains in a second.
func rate(metric string) string { return `rate(` + metric + `{` + ofPods + `}[$__rate_interval])` }

func requests() *timeseries.PanelBuilder {
	return versions(lines(about{
		id: 1, title: "Requests by version", w: 8, h: 8, unit: units.RequestsPerSecond, empty: "no pod is scraped",
		says: "Requests that the pods answered in a second. Nothing for the canary while it should have a share: look at the ingress.",
	}, over(byVersion(rate("http_requests_total"), ""), "{{version}}")))
}

func failures() *timeseries.PanelBuilder {
	return versions(lines(about{
		id: 2, title: "Errors by version", x: 8, w: 8, h: 8, unit: units.PercentUnit, empty: "no requests",
		says: "Share of the pods' answers that are not 2xx. Only the canary: the release; both: what they depend on.",
	}, over(byVersion(rate("http_requests_errors_total"), "")+` / (`+byVersion(rate("http_requests_total"), "")+` > 0)`, "{{version}}"))).
		AxisSoftMax(.05).
		Thresholds(thresholds("transparent", step{.005, orange}, step{.02, vermilion})).
		ThresholdsStyle(dashed())
}

// answers are the ingress's, which also sees the requests that no pod answered.
func answers() *timeseries.PanelBuilder {
	return lines(about{
		id: 3, title: "Answers at the ingress", x: 16, w: 8, h: 8, unit: units.RequestsPerSecond, empty: "no requests through the ingress",
		says: "What users were answered, by status. 502, 503 and 504 that the pods do not know of: pods died or were not reached.",
	}, over(`sum by (status) (rate(nginx_ingress_controller_requests{namespace="$namespace",ingress="$canary"}[$__rate_interval]))`, "{{status}}")).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")).
		FillOpacity(60).
		LineWidth(0). // or the outline of a status that nobody got would be drawn around the others
		OverrideByRegexp("/^2/", fixed(blue)).
		OverrideByRegexp("/^3/", fixed(sky)).
		OverrideByRegexp("/^4/", fixed(orange)).
		OverrideByRegexp("/^5/", fixed(vermilion))
}

// latency draws the exemplars of the highest quantile: the traces of the slowest are those that are wanted.
func latency() *timeseries.PanelBuilder {
	quantile := func(q, name string) *prometheus.DataqueryBuilder {
		return over(`histogram_quantile(`+q+`, `+byVersion(rate("http_request_duration_seconds_bucket"), ", le")+`)`, "{{version}} "+name)
	}
	return versions(lines(about{
		id: 4, title: "Duration by version", y: 8, w: 12, h: 9, unit: units.Seconds, empty: "no requests",
		says: "Half, 95 % and 99 % of the requests took no longer than this. A diamond is one request: its link leads to the trace.",
	}, quantile("0.99", "p99").Exemplar(true), quantile("0.95", "p95"), quantile("0.5", "p50"))).
		FillOpacity(0).
		OverrideByRegexp("/p95$/", broken(10, 5)).
		OverrideByRegexp("/p50$/", broken(2, 6))
}

func running() *table.PanelBuilder {
	return with(table.NewPanelBuilder(), about{
		id: 5, title: "What runs", x: 12, y: 8, w: 12, h: 9, unit: units.NoUnit, empty: "no pod is scraped",
		says: "Each pod with the version, deploy id and commit it says of itself. Two versions of one app are a rollout under way, or one that got stuck.",
	}, now(`max by (pod, version, revision, commit) (deployment_version{`+ofPods+`})`, "").Format(prometheus.PromQueryFormatTable)).
		MinWidth(80). // or its columns do not fit beside each other on a small screen
		OverrideByName("pod", []dashboard.DynamicConfigValue{{Id: "custom.width", Value: 250}}).
		Footer(common.NewTableFooterOptionsBuilder().Reducer([]string{})).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]bool{"Time": true, "Value": true},
			"indexByName":   map[string]int{"pod": 0, "version": 1, "revision": 2, "commit": 3},
		}})
}

func pods() *timeseries.PanelBuilder {
	return versions(lines(about{
		id: 6, title: "Pods and restarts", y: 17, w: 8, h: 7, unit: units.Short, empty: "no pod is scraped",
		says: "Pods that answer their scrape, and restarts of their process. Restarts of the canary alone are its fault: see its logs.",
	}, over(byVersion(`up{`+ofPods+`}`, ""), "{{version}}"),
		over(`sum(changes(process_start_time_seconds{`+ofPods+`}[$__rate_interval]))`, "restarts"))).
		Decimals(0).
		LineInterpolation(common.LineInterpolationStepAfter).
		OverrideByName("restarts", append(fixed(vermilion), dashboard.DynamicConfigValue{Id: "custom.drawStyle", Value: "bars"}))
}

// load is of all attacks: the load generator does not know which Canary is behind an address.
func load() *timeseries.PanelBuilder {
	return lines(about{
		id: 7, title: "Load", x: 8, y: 17, w: 8, h: 7, unit: units.RequestsPerSecond, empty: "no load generator is scraped",
		says: "What the load generator should send and what it was answered, by status; 0 is no answer. Less sent than wanted: the generator is too small.",
	}, over(`sum(loadgen_rate_target)`, "wanted"),
		over(`sum by (code) (rate(loadgen_requests_total[$__rate_interval]))`, "{{code}}")).
		OverrideByName("wanted", append(fixed(grey), broken(10, 10)...)).
		OverrideByRegexp("/^2/", fixed(blue)).
		OverrideByName("0", fixed(purple)).
		OverrideByRegexp("/^5/", fixed(vermilion)).
		OverrideByRegexp("/^4/", fixed(orange))
}

func faults() *timeseries.PanelBuilder {
	return lines(about{
		id: 8, title: "Injected faults", x: 16, y: 17, w: 8, h: 7, unit: "suffix: /s", empty: "no fault is being injected",
		says: "Faults that a chaos plan injects in a second, by kind. Anything here is a rehearsal: no one needs to be woken.",
	}, over(`sum by (kind) (`+rate("chaos_faults_total")+`) > 0`, "{{kind}}")).
		OverrideByName("error", fixed(vermilion)).
		OverrideByName("latency", fixed(orange)).
		OverrideByName("abort", fixed(purple)).
		OverrideByName("hang", fixed(sky)).
		OverrideByName("crash", fixed(grey))
}
