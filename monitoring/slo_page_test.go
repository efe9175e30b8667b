package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slofile"
)

const day = 24 * time.Hour

// The figures of docs/slo.md are those of the demo's objective.
func TestThePageOfObjectivesHasTheRightFigures(t *testing.T) {
	text, err := os.ReadFile(demo)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := slofile.Parse(demo, text)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/slo.md")
	if err != nil {
		t.Fatal(err)
	}
	promise := spec.Services[0]
	for first, want := range map[string][]string{
		"tier":                 tierRows(promise),
		"of all requests fail": exampleRows(promise),
		"what fails":           spentRows(promise),
		"period":               periodRows(promise),
	} {
		if got := rowsUnder(string(page), first); !slices.Equal(got, want) {
			t.Errorf("the table %q is\n%s\nwant\n%s", first, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, want := range sentences(promise) {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// What the page shows of slo.yaml is taken by it: a whole entry, and queries in the place of source and good.
func TestTheExamplesOfThePageAreTaken(t *testing.T) {
	page, err := os.ReadFile("../docs/slo.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(examples) != 2 {
		t.Fatalf("there are %d examples, want 2", len(examples))
	}
	for _, entry := range []string{examples[0][1], "  - namespace: shop\n    canary: orders\n    objective: 99\n" + examples[1][1]} {
		if _, err := slofile.Parse("example", []byte("scrape: 5s\nservices:\n"+entry)); err != nil {
			t.Errorf("%v\n%s", err, entry)
		}
	}
}

// rowsUnder are the rows of the table whose header begins with first.
func rowsUnder(page, first string) []string {
	_, after, _ := strings.Cut(page, "\n| "+first+" |")
	table, _, _ := strings.Cut(after, "\n\n")
	lines := strings.Split(table, "\n")
	return lines[min(2, len(lines)):]
}

func tierRows(s slo.Service) (rows []string) {
	for _, tier := range slo.Tiers() {
		factor := tier.Factor(s.Period)
		above := factor * s.Budget()
		rows = append(rows, row(
			tier.Name, percent(tier.Share, 2), span(tier.Long), span(tier.Short), digits(factor, 3), percent(above, 2),
			span(times(tier.Long, above)), span(times(tier.Short, 1-above)), digits(s.Least()*float64(day)/float64(tier.Long), 0),
		))
	}
	return rows
}

func exampleRows(s slo.Service) (rows []string) {
	for _, bad := range []float64{1, 0.1, 0.05, 0.02, 0.01, 0.004} {
		cells := []string{percent(bad, 2)}
		for _, tier := range slo.Tiers() {
			after := "never"
			if above := tier.Factor(s.Period) * s.Budget(); bad > above {
				after = span(times(tier.Long, above/bad))
			}
			cells = append(cells, after)
		}
		rows = append(rows, row(cells...))
	}
	return rows
}

func spentRows(s slo.Service) (rows []string) {
	const canary = "a canary with 10 % of the traffic, "
	for _, one := range []struct {
		what      string
		bad       float64 // share of all requests
		last      time.Duration
		precision int
	}{
		{canary + "every request", 0.1, 9 * time.Second, 4},
		{canary + "every request", 0.1, 5 * time.Minute, 2},
		{canary + "one request in 50", 0.1 / 50, 30 * time.Minute, 3},
		{"a bad version that was promoted, every request", 1, 10 * time.Minute, 1},
	} {
		rows = append(rows, row(one.what, span(one.last), percent(one.bad*float64(one.last)/(s.Budget()*float64(s.Period)), one.precision)))
	}
	return rows
}

func periodRows(s slo.Service) (rows []string) {
	for _, period := range []time.Duration{7 * day, 28 * day, s.Period, 90 * day} {
		var factors []string
		for _, tier := range slo.Tiers() {
			factors = append(factors, digits(tier.Factor(period), 3))
		}
		lowest := 1 - 1/slo.Tiers()[0].Factor(period)
		rows = append(rows, row(digits(period.Hours()/24, 0)+"d", strings.Join(factors, ", "), percent(lowest, 2)))
	}
	return rows
}

// sentences are figures that stand in the text.
func sentences(s slo.Service) []string {
	minutes := s.Budget() * s.Period.Minutes()
	requests := 50 * s.Period.Seconds()
	quick := slo.Tiers()[0].Factor(s.Period) * s.Budget()
	// One busy day with 100 requests a second of which 1 is bad, 14 quiet ones with 1 of which none is; in days × rate.
	bad, all := 1.0, 100.0+14
	// After h of good traffic and t with the share p bad, p × t / (h + t) is bad of all.
	young := times(10*time.Minute, quick/(0.1-quick))
	return []string{
		fmt.Sprintf("failing for %s minutes spend it, or %d,000 of %s million requests", digits(minutes, 0), int(s.Budget()*requests)/1000, digits(requests/1e6, 1)),
		fmt.Sprintf("÷ %s minutes", digits(minutes, 0)),
		fmt.Sprintf("fewer than %s requests", digits(s.Least(), 0)),
		fmt.Sprintf("Of %s requests in an hour %d have to fail", digits(s.Least(), 0), int(quick*s.Least())+1),
		fmt.Sprintf("with 10 %% errors after %s and not %s", span(young), digits(slo.Tiers()[0].Long.Minutes()*quick/0.1, 1)),
		fmt.Sprintf("Of all requests %s were bad, the promise is broken and %s of the budget spent", percent(bad/all, 3), percent(bad/all/s.Budget(), 0)),
		fmt.Sprintf("the mean of the ratios is %s", percent(0.01/15, 3)),
	}
}

func row(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |" }

// digits has at most so many digits after the point.
func digits(x float64, most int) string {
	text := strconv.FormatFloat(x, 'f', most, 64)
	if most == 0 {
		return text
	}
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}

func percent(share float64, most int) string { return digits(100*share, most) + " %" }

func times(d time.Duration, x float64) time.Duration { return time.Duration(float64(d) * x) }

// span is a time as the page writes it: in the unit people would use, to a tenth.
func span(d time.Duration) string {
	switch {
	case d >= day && d%day == 0:
		return digits(d.Hours()/24, 0) + " d"
	case d >= time.Hour:
		return digits(d.Hours(), 1) + " h"
	case d >= time.Minute:
		return digits(d.Minutes(), 1) + " min"
	default:
		return digits(d.Seconds(), 0) + " s"
	}
}
