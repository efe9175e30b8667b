package slo

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestFactorsFollowThePeriod(t *testing.T) {
	for _, c := range []struct {
		period time.Duration
		want   []float64
	}{
		{30 * day, []float64{14.4, 6, 3, 1}},                // the Workbook's
		{28 * day, []float64{13.44, 5.6, 2.8, 0.933333333}}, // as Sloth computes them
		{7 * day, []float64{3.36, 1.4, 0.7, 0.233333333}},
	} {
		for i, tier := range Tiers() {
			if got := tier.Factor(c.period); got != c.want[i] {
				t.Errorf("%s over %s has the factor %v, want %v", tier.Name, c.period, got, c.want[i])
			}
		}
	}
}

func TestWindowsAreThoseOfTheTiersAndThePeriod(t *testing.T) {
	want := []time.Duration{5 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, day, 3 * day, 28 * day}
	if got := Windows(28 * day); !slices.Equal(got, want) {
		t.Errorf("windows are %v, want %v", got, want)
	}
}

func TestBudgetsAreRoundAndOneBadRequestIsNeverTooMuch(t *testing.T) {
	for objective, want := range map[float64]struct{ budget, least float64 }{
		99.5: {0.005, 200}, 99.9: {0.001, 1000}, 99: {0.01, 100}, 99.99: {0.0001, 10000}, 97: {0.03, 34},
	} {
		s := Service{Objective: objective}
		if s.Budget() != want.budget || s.Least() != want.least {
			t.Errorf("%v %%: budget %v, least %v, want %+v", objective, s.Budget(), s.Least(), want)
		}
	}
	if got := (Service{Objective: 99.5, MinRequests: 50}).Least(); got != 50 {
		t.Errorf("50 wanted requests are %v", got)
	}
}

func good() Service {
	return Service{Namespace: "demo", Canary: "podinfo", Name: "availability", Objective: 99.5, Period: 30 * day, Source: Pods, Good: []string{"2xx", "304"}}
}

func TestEveryFieldIsChecked(t *testing.T) {
	for field, change := range map[string]func(*Service){
		"namespace":   func(s *Service) { s.Namespace = "Demo" },
		"canary":      func(s *Service) { s.Canary = "" },
		"slo":         func(s *Service) { s.Name = `a"b` },
		"period":      func(s *Service) { s.Period = 84 * time.Hour },
		"objective":   func(s *Service) { s.Objective = 100 },
		"minRequests": func(s *Service) { s.MinRequests = -1 },
		"labels":      func(s *Service) { s.Labels = map[string]string{"severity": "none"} },
		"good":        func(s *Service) { s.Good = []string{"ok"} },
		"source":      func(s *Service) { s.Source = "mesh" },
		"errors":      func(s *Service) { s.Source, s.Errors, s.Total = Queries, "rate(x[5m])", "rate(y[{{window}}])" },
		"total":       func(s *Service) { s.Source, s.Errors = Queries, "rate(x[{{window}}])" },
	} {
		s := good()
		change(&s)
		err := Spec{Scrape: 5 * time.Second, Services: []Service{s}}.Validate()
		var got FieldError
		if !errors.As(err, &got) || got.Field != "services[0]."+field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for name, spec := range map[string]Spec{
		"scrape": {Services: []Service{good()}}, "services": {Scrape: time.Second},
		"services[1].canary": {Scrape: time.Second, Services: []Service{good(), good()}},
	} {
		if err := spec.Validate(); err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Spec{Scrape: time.Second, Services: []Service{good()}}).Validate(); err != nil {
		t.Error(err)
	}
}

// Slices of traffic add up when each has as many scrapes as the one before.
func TestScrapesAndEvaluationsKeepStep(t *testing.T) {
	for scrape, want := range map[time.Duration]bool{
		5 * time.Second: true, 15 * time.Second: true, 20 * time.Second: false, 25 * time.Second: false, 30 * time.Second: true, 45 * time.Second: true, 61 * time.Second: false,
	} {
		err := Spec{Scrape: scrape, Services: []Service{good()}}.Validate()
		if (err == nil) != want || err != nil && !strings.HasPrefix(err.Error(), "scrape: ") {
			t.Errorf("%s: %v", scrape, err)
		}
	}
}

// 14.4 times 6.9 % is all there is: below 93.1 % the quick page wants more bad requests than requests.
func TestAnObjectiveThatCanNotBePagedOnIsRefused(t *testing.T) {
	for objective, want := range map[float64]bool{93: false, 93.1: true} {
		s := good()
		s.Objective = objective
		if err := (Spec{Scrape: time.Second, Services: []Service{s}}).Validate(); (err == nil) != want {
			t.Errorf("%v %%: %v", objective, err)
		}
	}
}

// Groups of rules are named after it, and Prometheus takes no name twice.
func TestTwoCanariesOfOneNameAreRefused(t *testing.T) {
	first, second := good(), good()
	first.Namespace, first.Canary = "demo-podinfo", "web"
	second.Namespace, second.Canary, second.Name = "demo", "podinfo-web", "other"
	err := (Spec{Scrape: time.Second, Services: []Service{first, second}}).Validate()
	if err == nil || !strings.Contains(err.Error(), "services[1].canary: demo-podinfo/web and demo/podinfo-web would both be called demo-podinfo-web") {
		t.Errorf("got %v", err)
	}
}

func TestTwoObjectivesOfOneCanary(t *testing.T) {
	second := good()
	second.Name = "latency"
	if err := (Spec{Scrape: time.Second, Services: []Service{good(), second}}).Validate(); err == nil || !strings.Contains(err.Error(), "services[1].source: ") {
		t.Errorf("two sets of records by version: %v", err)
	}
	second.Source, second.Errors, second.Total = Queries, "rate(x[{{window}}])", "rate(y[{{window}}])"
	if err := (Spec{Scrape: time.Second, Services: []Service{good(), second}}).Validate(); err != nil {
		t.Error(err)
	}
}
