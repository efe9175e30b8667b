package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// FieldError says of one field, by its path in the document ("gates.freeze[0].zone"), what is wrong and what to write.
type FieldError struct{ Field, Text string }

func (e FieldError) Error() string { return e.Field + ": " + e.Text }

// day is 24 hours; in ranges and spans no day is shorter or longer.
const day = 24 * time.Hour

// maxRequests bounds evidence.minRequests: from 1e+06 on Helm writes numbers in a form that is no count.
const maxRequests = 999_999

// Validate names every field that is out of its range: FieldErrors, joined.
func (r Rules) Validate() error {
	var w wrong
	w.unless(len(r.Name) <= 63 && dnsName(r.Name, false), "name", "%q can not be chosen by a Canary; write lower-case letters, digits and -, at most 63", r.Name)
	r.SLO.validate(&w)
	r.Metrics.validate(&w)
	r.FailFast.validate(&w)
	w.span("bake.first", r.Bake.First, 0, day)
	w.span("bake.step", r.Bake.Step, 0, day)
	r.Evidence.validate(&w)
	w.unless(r.Confidence.FalseRollback > 0 && r.Confidence.FalseRollback <= 10, "confidence.falseRollback", "%v is not a percentage over 0 and up to 10", r.Confidence.FalseRollback)
	w.span("confidence.block", r.Confidence.Block, 500*time.Millisecond, time.Minute)
	w.number("confidence.dispersion", r.Confidence.Dispersion, 1, 100)
	w.number("ramp.riskBurn", r.Ramp.RiskBurn, 1, 100)
	w.unless(r.Ramp.Miss > 0 && r.Ramp.Miss < 50, "ramp.miss", "%v is not a percentage over 0 and under 50", r.Ramp.Miss)
	w.number("baseline.margin", r.Baseline.Margin, 0, 100)
	r.Latency.validate(&w)
	r.Budget.validate(&w)
	r.Gates.validate(&w)
	oneOf(&w, "brake", r.Brake, BrakeOff, BrakeOn, BrakeAlways)
	for i, n := range r.Notify {
		n.validate(&w, at("notify", i))
		w.unless(!slices.ContainsFunc(r.Notify[:i], func(o Notify) bool { return o.Sink == n.Sink }), at("notify", i)+".sink", "%q is there twice; name each sink once", n.Sink)
	}
	return errors.Join(w...)
}

func (s SLO) validate(w *wrong) {
	if s.Objective == 100 {
		w.add("slo.objective", "100 leaves no error rate to test against, one error in a million would break it; write for example 99.99")
	} else {
		w.unless(s.Objective > 0 && s.Objective < 100, "slo.objective", "%v is not a percentage over 0 and under 100", s.Objective)
	}
	w.unless(len(s.Good) > 0, "slo.good", "empty, so every response would be an error; name classes or codes, for example [2xx]")
	for i, g := range s.Good {
		w.unless(validStatus(g), at("slo.good", i), "%q is neither a class (2xx) nor a status code (204)", g)
	}
}

func (m Metrics) validate(w *wrong) {
	w.unless(metricName(m.Requests), "metrics.requests", "%q is not the name of a metric; write for example http_requests_total", m.Requests)
	w.unless(labelName(m.Status), "metrics.status", "%q is not the name of a label; write for example status", m.Status)
	w.unless(metricName(m.Duration), "metrics.duration", "%q is not the name of a metric; write for example http_request_duration_seconds", m.Duration)
	validLabels(w, "metrics.match", m.Match)
}

func (f FailFast) validate(w *wrong) {
	w.unless(f.ErrorRate > 0 && f.ErrorRate < 100, "failFast.errorRate", "%v is not a percentage over 0 and under 100", f.ErrorRate)
	w.span("failFast.within", f.Within, time.Second, day)
	oneOf(w, "failFast.mode", f.Mode, Literal, Guarded, Strict)
}

func (e Evidence) validate(w *wrong) {
	for i, s := range e.Source {
		oneOf(w, at("evidence.source", i), s, Pods, Ingress)
		w.unless(!slices.Contains(e.Source[:i], s), at("evidence.source", i), "%q is there twice; name each source once", s)
	}
	w.unless(len(e.Source) == 0 || slices.Contains(e.Source, Pods), "evidence.source", "the ingress alone can not carry a verdict: it does not say which pod answered; write [pods] or [pods, ingress]")
	w.unless(e.MinRequests >= 1 && e.MinRequests <= maxRequests, "evidence.minRequests", "%d is not between 1 and %d; 0 would judge a canary that served nothing", e.MinRequests, maxRequests)
	oneOf(w, "evidence.onTooLittle", e.OnTooLittle, HoldOn, RollBack)
	w.span("evidence.maxHold", e.MaxHold, time.Second, 7*day)
}

func (l *Latency) validate(w *wrong) {
	if l == nil {
		return
	}
	w.unless(l.Quantile >= 50 && l.Quantile <= 99.99, "latency.quantile", "%v is not a percentage from 50 to 99.99; write for example 99", l.Quantile)
	w.unless(l.Max != 0 || l.WorseBy != 0, "latency", "sets no limit; write max, worseBy or both, or leave latency out")
	if l.Max != 0 {
		w.span("latency.max", l.Max, time.Millisecond, 10*time.Minute)
	}
	w.number("latency.worseBy", l.WorseBy, 0, 1000)
}

func (b *Budget) validate(w *wrong) {
	if b == nil {
		return
	}
	w.span("budget.window", b.Window, time.Hour, 90*day)
	w.number("budget.minRemaining", b.MinRemaining, 0, 100)
	w.number("budget.perRollout", b.PerRollout, 0, 100)
	w.unless(b.MinRemaining != 0 || b.PerRollout != 0, "budget", "sets no limit; write minRemaining, perRollout or both, or leave budget out")
}

func (g GateRules) validate(w *wrong) {
	oneOf(w, "gates.approval", g.Approval, ApproveNothing, ApproveStart, ApprovePromotion, ApproveBoth)
	if g.ApprovalTTL != 0 {
		w.span("gates.approvalTTL", g.ApprovalTTL, time.Minute, 30*day)
	}
	for i, f := range g.Freeze {
		f.validate(w, at("gates.freeze", i))
	}
	oneOf(w, "gates.inFlight", g.InFlight, Unlimited, OnePerSpace, OnePerPolicy)
	for i, name := range g.DependsOn {
		space, canary, both := strings.Cut(name, "/")
		w.unless(dnsName(space, true) && (!both || dnsName(canary, true)), at("gates.dependsOn", i), "%q is not a Canary; write name or namespace/name", name)
		w.unless(!slices.Contains(g.DependsOn[:i], name), at("gates.dependsOn", i), "%q is there twice; name each Canary once", name)
	}
	validLabels(w, "gates.alerts", g.Alerts)
}

func (f Freeze) validate(w *wrong, field string) {
	if _, err := time.LoadLocation(f.Zone); err != nil || f.Zone == "" || f.Zone == "Local" {
		w.add(field+".zone", "%q is not a time zone; write for example Europe/Berlin or UTC", f.Zone)
	}
	from, errFrom := parseMoment(f.From)
	to, errTo := parseMoment(f.To)
	const form = `%q is neither a time of the week ("Fri 16:00") nor a date with time ("2026-12-24 00:00")`
	w.unless(errFrom == nil, field+".from", form, f.From)
	w.unless(errTo == nil, field+".to", form, f.To)
	switch {
	case errFrom != nil || errTo != nil:
	case from.weekly != to.weekly:
		w.add(field+".to", "%q does not fit from, %q; write two times of the week or two dates", f.To, f.From)
	case from.weekly && from.clock.Equal(to.clock):
		w.add(field+".to", "%q is the same as from, which freezes either always or never; write another time", f.To)
	case !from.weekly && !from.clock.Before(to.clock):
		w.add(field+".to", "%q is not after from, %q", f.To, f.From)
	}
	for i, change := range f.Except {
		w.unless(strings.TrimSpace(change) != "", fmt.Sprintf("%s.except[%d]", field, i), "empty; write a kind of change, for example hotfix")
	}
}

func (n Notify) validate(w *wrong, field string) {
	w.unless(len(n.Sink) <= 63 && dnsName(n.Sink, false), field+".sink", "%q is not the name of a sink; write one of the sinks file: lower-case letters, digits and -, at most 63", n.Sink)
	for i, h := range n.On {
		oneOf(w, at(field+".on", i), h, rollout.Happenings()...)
		w.unless(!slices.Contains(n.On[:i], h), at(field+".on", i), "%q is there twice; name each happening once", h)
	}
}

// wrong collects what Validate finds.
type wrong []error

func (w *wrong) add(field, format string, args ...any) {
	*w = append(*w, FieldError{field, fmt.Sprintf(format, args...)})
}

func (w *wrong) unless(ok bool, field, format string, args ...any) {
	if !ok {
		w.add(field, format, args...)
	}
}

// number wants least <= v <= most; NaN is not.
func (w *wrong) number(field string, v, least, most float64) {
	w.unless(v >= least && v <= most, field, "%v is not a number from %v to %v", v, least, most)
}

func (w *wrong) span(field string, d, least, most time.Duration) {
	w.unless(d >= least && d <= most, field, "%s is not a duration from %s to %s", span(d), span(least), span(most))
}

func oneOf[T ~string](w *wrong, field string, v T, all ...T) {
	if !slices.Contains(all, v) {
		words := make([]string, len(all))
		for i, word := range all {
			words[i] = string(word)
		}
		w.add(field, "%q is none of %s", v, strings.Join(words, ", "))
	}
}

func validLabels(w *wrong, field string, labels map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		w.unless(labelName(name), field, "%q is not the name of a label", name)
		w.unless(labels[name] != "", field, "label %q has no value; write the value that it must have", name)
	}
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func validStatus(s string) bool {
	return len(s) == 3 && s[0] >= '1' && s[0] <= '5' && (s[1:] == "xx" || digit(s[1]) && digit(s[2]))
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// labelName is Prometheus' rule for labels; a metric's name may have colons too.
func labelName(s string) bool { return !strings.Contains(s, ":") && metricName(s) }

func metricName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
		if !letter && (i == 0 || !digit(c)) {
			return false
		}
	}
	return s != ""
}

// dnsName is Kubernetes' rule for names, with or without dots.
func dnsName(s string, dots bool) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || digit(c)
		inside := (c == '-' || dots && c == '.') && i > 0 && i < len(s)-1
		if !letter && !inside {
			return false
		}
	}
	return s != ""
}

// span writes a duration as it stands in a document: 30d, 1h30m, 5m, 0s.
func span(d time.Duration) string {
	if d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
