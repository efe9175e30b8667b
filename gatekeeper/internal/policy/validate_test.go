package policy

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Each range, at its edges: what is just inside is taken, what is just outside is named by its field.
func TestValidateRanges(t *testing.T) {
	const ns = time.Nanosecond
	numbers := map[string]struct {
		set      func(*Rules, float64)
		good, no []float64
	}{
		"slo.objective":            {func(r *Rules, v float64) { r.SLO.Objective = v }, []float64{0.1, 99.999}, []float64{0, 100, 100.1, -1}},
		"failFast.errorRate":       {func(r *Rules, v float64) { r.FailFast.ErrorRate = v }, []float64{0.1, 99.9}, []float64{0, 100}},
		"evidence.minRequests":     {func(r *Rules, v float64) { r.Evidence.MinRequests = uint64(v) }, []float64{1, 999999}, []float64{0, 1000000}},
		"confidence.falseRollback": {func(r *Rules, v float64) { r.Confidence.FalseRollback = v }, []float64{0.001, 10}, []float64{0, 10.1}},
		"confidence.dispersion":    {func(r *Rules, v float64) { r.Confidence.Dispersion = v }, []float64{1, 100}, []float64{0.9, 100.1}},
		"ramp.riskBurn":            {func(r *Rules, v float64) { r.Ramp.RiskBurn = v }, []float64{1, 100}, []float64{0.9, 100.1}},
		"ramp.miss":                {func(r *Rules, v float64) { r.Ramp.Miss = v }, []float64{0.1, 49.9}, []float64{0, 50}},
		"baseline.margin":          {func(r *Rules, v float64) { r.Baseline.Margin = v }, []float64{0, 100}, []float64{-0.1, 100.1}},
		"latency.quantile":         {func(r *Rules, v float64) { r.Latency = &Latency{v, time.Second, 0} }, []float64{50, 99.99}, []float64{49.9, 99.995, 100}},
		"latency.worseBy":          {func(r *Rules, v float64) { r.Latency = &Latency{99, time.Second, v} }, []float64{0, 1000}, []float64{-1, 1001}},
		"budget.minRemaining":      {func(r *Rules, v float64) { r.Budget = &Budget{day, v, 1} }, []float64{0, 100}, []float64{-1, 101}},
		"budget.perRollout":        {func(r *Rules, v float64) { r.Budget = &Budget{day, 1, v} }, []float64{0, 100}, []float64{-1, 101}},
	}
	for field, c := range numbers {
		if field != "evidence.minRequests" {
			c.no = append(c.no, math.NaN(), math.Inf(1))
		}
		for _, v := range c.good {
			wants(t, "", v, func(r *Rules) { c.set(r, v) })
		}
		for _, v := range c.no {
			wants(t, field, v, func(r *Rules) { c.set(r, v) })
		}
	}
	spans := map[string]struct {
		set         func(*Rules, time.Duration)
		least, most time.Duration
	}{
		"failFast.within":   {func(r *Rules, d time.Duration) { r.FailFast.Within = d }, time.Second, day},
		"bake.first":        {func(r *Rules, d time.Duration) { r.Bake.First = d }, 0, day},
		"bake.step":         {func(r *Rules, d time.Duration) { r.Bake.Step = d }, 0, day},
		"evidence.maxHold":  {func(r *Rules, d time.Duration) { r.Evidence.MaxHold = d }, time.Second, 7 * day},
		"confidence.block":  {func(r *Rules, d time.Duration) { r.Confidence.Block = d }, 500 * time.Millisecond, time.Minute},
		"latency.max":       {func(r *Rules, d time.Duration) { r.Latency = &Latency{99, d, 1} }, time.Millisecond, 10 * time.Minute},
		"budget.window":     {func(r *Rules, d time.Duration) { r.Budget = &Budget{d, 1, 1} }, time.Hour, 90 * day},
		"gates.approvalTTL": {func(r *Rules, d time.Duration) { r.Gates.ApprovalTTL = d }, time.Minute, 30 * day},
	}
	for field, c := range spans {
		wants(t, "", c.least, func(r *Rules) { c.set(r, c.least) })
		wants(t, "", c.most, func(r *Rules) { c.set(r, c.most) })
		wants(t, field, c.least-ns, func(r *Rules) { c.set(r, c.least-ns) })
		wants(t, field, c.most+ns, func(r *Rules) { c.set(r, c.most+ns) })
	}
	wants(t, "", "no time to live", func(r *Rules) { r.Gates.ApprovalTTL = 0 })
	wants(t, "latency", "no limit", func(r *Rules) { r.Latency = &Latency{Quantile: 99} })
	wants(t, "budget", "no limit", func(r *Rules) { r.Budget = &Budget{Window: day} })
}

func TestValidateWords(t *testing.T) {
	words := map[string]struct {
		set      func(*Rules, string)
		good, no []string
	}{
		"name":                 {func(r *Rules, s string) { r.Name = s }, []string{"a", "z9", "a-b", strings.Repeat("a", 63)}, []string{"", "-a", "a-", "A", "a.b", "a_b", "`", "{", strings.Repeat("a", 64)}},
		"slo.good[1]":          {func(r *Rules, s string) { r.SLO.Good = []string{"2xx", s} }, []string{"1xx", "5xx", "100", "599"}, []string{"", "0xx", "6xx", "20", "2000", "2x0", "20x", "2:0", "20/"}},
		"metrics.requests":     {func(r *Rules, s string) { r.Metrics.Requests = s }, []string{"a", "Z_9", ":a:b"}, []string{"", "9a", "a-b", "a b", "ä"}},
		"metrics.duration":     {func(r *Rules, s string) { r.Metrics.Duration = s }, []string{"z"}, []string{""}},
		"metrics.status":       {func(r *Rules, s string) { r.Metrics.Status = s }, []string{"A", "_a9"}, []string{"", "a:b"}},
		"metrics.match":        {func(r *Rules, s string) { r.Metrics.Match = map[string]string{"a": "b", s: "c"} }, []string{"x"}, []string{"", "x-y"}},
		"failFast.mode":        {func(r *Rules, s string) { r.FailFast.Mode = Mode(s) }, []string{"literal", "guarded", "strict"}, []string{""}},
		"evidence.source[1]":   {func(r *Rules, s string) { r.Evidence.Source = []Source{Pods, Source(s)} }, []string{"ingress"}, []string{"", "pods"}},
		"evidence.onTooLittle": {func(r *Rules, s string) { r.Evidence.OnTooLittle = OnTooLittle(s) }, []string{"hold", "fail"}, []string{""}},
		"notify[1].sink":       {func(r *Rules, s string) { r.Notify = []Notify{{Sink: "a"}, {Sink: s}} }, []string{"b", "team-1"}, []string{"", "a", "B", "a/b"}},
		"notify[0].on[1]": {func(r *Rules, s string) {
			r.Notify = []Notify{{Sink: "a", On: []rollout.Happening{"started", rollout.Happening(s)}}}
		}, []string{"waiting", "rolled-back", "stuck"}, []string{"", "started", "ended"}},
		"gates.approval":     {func(r *Rules, s string) { r.Gates.Approval = Approval(s) }, []string{"none", "start", "promotion", "both"}, []string{""}},
		"gates.inFlight":     {func(r *Rules, s string) { r.Gates.InFlight = InFlight(s) }, []string{"unlimited", "namespace", "policy"}, []string{""}},
		"gates.dependsOn[1]": {func(r *Rules, s string) { r.Gates.DependsOn = []string{"db", s} }, []string{"a", "a.b", "test/db"}, []string{"", "db", "/a", "a/", "a/b/c", ".a"}},
		"gates.alerts":       {func(r *Rules, s string) { r.Gates.Alerts = map[string]string{"severity": s} }, []string{"critical"}, []string{""}},
		"brake":              {func(r *Rules, s string) { r.Brake = Brake(s) }, []string{"off", "on", "always"}, []string{"", "true"}},
	}
	for field, c := range words {
		for _, s := range c.good {
			wants(t, "", s, func(r *Rules) { c.set(r, s) })
		}
		for _, s := range c.no {
			wants(t, field, s, func(r *Rules) { c.set(r, s) })
		}
	}
	wants(t, "slo.good", "none", func(r *Rules) { r.SLO.Good = nil })
}

func TestValidateFreeze(t *testing.T) {
	for name, c := range map[string]struct {
		f     Freeze
		field string
	}{
		"a week":             {Freeze{"Fri 16:00", "Mon 08:00", "Europe/Berlin", []string{"hotfix"}}, ""},
		"a minute":           {Freeze{"2026-12-24 00:00", "2026-12-24 00:01", "UTC", nil}, ""},
		"no minute":          {Freeze{"2026-12-24 00:00", "2026-12-24 00:00", "UTC", nil}, "gates.freeze[0].to"},
		"always or never":    {Freeze{"Fri 16:00", "Fri 16:00", "UTC", nil}, "gates.freeze[0].to"},
		"a week to a date":   {Freeze{"Fri 16:00", "2026-12-24 00:00", "UTC", nil}, "gates.freeze[0].to"},
		"no begin":           {Freeze{"16:00", "Mon 08:00", "UTC", nil}, "gates.freeze[0].from"},
		"no end":             {Freeze{"Fri 16:00", "Mon", "UTC", nil}, "gates.freeze[0].to"},
		"no zone":            {Freeze{"Fri 16:00", "Mon 08:00", "", nil}, "gates.freeze[0].zone"},
		"the machine's zone": {Freeze{"Fri 16:00", "Mon 08:00", "Local", nil}, "gates.freeze[0].zone"},
		"an unknown zone":    {Freeze{"Fri 16:00", "Mon 08:00", "Mars", nil}, "gates.freeze[0].zone"},
		"an empty exception": {Freeze{"Fri 16:00", "Mon 08:00", "UTC", []string{"hotfix", " "}}, "gates.freeze[0].except[1]"},
	} {
		wants(t, c.field, name, func(r *Rules) { r.Gates.Freeze = []Freeze{c.f} })
	}
}

// wants changes the default and expects one error, of this field, or none.
func wants(t *testing.T, field string, what any, change func(*Rules)) {
	t.Helper()
	rules := Default()
	change(&rules)
	err := rules.Validate()
	if field == "" {
		if err != nil {
			t.Errorf("%v is refused: %v", what, err)
		}
		return
	}
	var got FieldError
	if !errors.As(err, &got) || got.Field != field || strings.Contains(err.Error(), "\n") || got.Text == "" {
		t.Errorf("%s: %v gives %v", field, what, err)
	}
}
