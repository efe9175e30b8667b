package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"
)

// Sights are what people see, as files: dashboards and rules.
type Sights struct {
	Dashboards [][]byte // JSON
	Rules      []byte   // a rule file
	Exceptions []panel.Exception
}

// How long it may take until what has just happened is seen: by rules, a scrape, an evaluation or two and a look; by all, for
// the gatekeeper works out what it knows of 30 days once a minute.
const (
	evaluated = 40 * time.Second
	settled   = 90 * time.Second
)

// panels asks what dashboards and rules ask, at the moments of the scenarios.
type panels struct {
	book  *panel.Book
	rules []panel.Rule
	fires []string  // alerts that were seen to fire, after a release came back
	wrong []string  // with the rules
	due   time.Time // when all that a bad release leaves must be seen; zero before one
}

// newPanels fills the variables of the dashboards in for the Canary of the drill.
func (d *Drill) newPanels(s Sights) (*panels, error) {
	values := map[string]string{
		"namespace": d.Namespace, "canary": d.Name, "objective": "availability", "datasource": "prometheus", "__rate_interval": "20s", "__interval": "15s", "__range": "15m",
	}
	var queries []panel.Query
	for _, text := range s.Dashboards {
		list, err := panel.Dashboard(text, values)
		if err != nil {
			return nil, err
		}
		queries = append(queries, list...)
	}
	rules, err := panel.Rules(s.Rules)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if !r.Alert {
			queries = append(queries, panel.Query{Where: r.Where, Expr: r.Expr})
		}
	}
	book, err := panel.NewBook(queries, s.Exceptions)
	return &panels{book: book, rules: rules}, err
}

// look asks what is due, again and again until nothing is missing, what is awaited has come, or ctx ends.
func (d *Drill) look(ctx context.Context, at panel.Moment, late func() bool) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		for _, q := range d.panels.book.Due(at) {
			answered, wrong, err := d.query(ctx, q.Expr)
			d.panels.book.Note(q, at, answered, wrong)
			if err != nil {
				break // Prometheus can not be asked: it may be next time
			}
		}
		if len(d.panels.book.Missing(at)) == 0 || late() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// query asks Prometheus for an expression now. Answered is that there is a number; wrong is why there can be none.
func (d *Drill) query(ctx context.Context, expr string) (answered bool, wrong string, err error) {
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := d.prometheus(ctx, "/api/v1/query?"+url.Values{"query": {expr}}.Encode(), &answer); err != nil || answer.Error != "" {
		return false, answer.Error, err
	}
	var series []struct {
		Value [2]any `json:"value"`
	}
	if json.Unmarshal(answer.Data.Result, &series) != nil {
		return true, "", nil // a number alone
	}
	for _, s := range series {
		if s.Value[1] != "NaN" {
			return true, "", nil
		}
	}
	return false, "", nil
}

// prometheus asks Prometheus and reads its JSON, also that of an error.
func (d *Drill) prometheus(ctx context.Context, path string, answer any) error {
	text, status, err := d.Kube.Service(ctx, http.MethodGet, d.Monitoring, "prometheus", "http", path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read what Prometheus answered to %s, with status %d: %w", path, status, err)
	}
	return nil
}

// lookUnderWay asks from 25 % on, when every window of a minute has something in it, until 100 % at the latest.
func lookUnderWay(ctx context.Context, d *Drill, eyes *observer) error {
	if d.panels == nil {
		return nil
	}
	if err := eyes.await(ctx, at("25")); err != nil {
		return err
	}
	return d.look(ctx, panel.UnderWay, func() bool {
		_, late := at("100").In(eyes.view().events)
		return late
	})
}

// lookAtBad asks from the first weight on: what happens to a bad release is soon over.
func lookAtBad(ctx context.Context, d *Drill, eyes *observer) error {
	if d.panels == nil {
		return nil
	}
	if err := eyes.await(ctx, at("10")); err != nil {
		return err
	}
	return d.look(ctx, panel.Broken, func() bool { return false })
}

// lookAtGates asks at the first weight.
func lookAtGates(ctx context.Context, d *Drill, eyes *observer) error {
	if d.panels == nil {
		return nil
	}
	if err := eyes.await(ctx, at("10")); err != nil {
		return err
	}
	return d.look(ctx, panel.Gated, func() bool {
		_, late := at("25").In(eyes.view().events)
		return late
	})
}

// lookAfter asks how the rules are after a release came back.
func (d *Drill) lookAfter(ctx context.Context) error {
	d.panels.due = time.Now().Add(settled)
	ctx, cancel := context.WithTimeout(ctx, evaluated)
	defer cancel()
	err := d.until(ctx, func(ctx context.Context) (bool, error) {
		err := d.judgeRules(ctx)
		return len(d.panels.wrong) == 0, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // what is wrong then is told with all else
	}
	return err
}

// lookBack asks what a release that came back has left. Scenarios in between do not change that, and save the waiting.
func (d *Drill) lookBack(ctx context.Context) error {
	if d.panels == nil || d.panels.due.IsZero() {
		return nil
	}
	return d.look(ctx, panel.Broken, func() bool { return time.Now().After(d.panels.due) })
}

// ruleGroups are the rules that Prometheus has, as it tells.
type ruleGroups struct {
	Data struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	} `json:"data"`
}

type rule struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	Health    string            `json:"health"`
	LastError string            `json:"lastError"`
	State     string            `json:"state"` // of an alert
	Alerts    []struct {
		ActiveAt    time.Time         `json:"activeAt"`
		Annotations map[string]string `json:"annotations"`
	} `json:"alerts"`

	group string
}

func (d *Drill) ruleGroups(ctx context.Context) (groups ruleGroups, err error) {
	err = d.prometheus(ctx, "/api/v1/rules", &groups)
	return groups, err
}

func (g ruleGroups) all() (all []rule) {
	for _, group := range g.Data.Groups {
		for _, r := range group.Rules {
			r.group = group.Name
			all = append(all, r)
		}
	}
	return all
}

// judgeRules compares the rules that Prometheus has with those of the file: all are there and well, and the alerts that
// must fire do, and no others.
func (d *Drill) judgeRules(ctx context.Context) error {
	groups, err := d.ruleGroups(ctx)
	if err != nil {
		return err
	}
	var wrong, fires []string
	there := map[string]int{}
	for _, r := range groups.all() {
		there[r.group+"/"+r.Name]++
		if r.Health != "ok" {
			wrong = append(wrong, strings.TrimSpace(fmt.Sprintf("rule %s/%s is %s %s", r.group, r.Name, r.Health, r.LastError)))
		}
		// A bad release spends budget, and where nothing else was asked yet that is much: a ticket is no surprise. A page is.
		if ticket := r.Name == burnAlert && r.Labels["severity"] == "warning"; r.State == "firing" && !ticket {
			fires = append(fires, r.Name)
		}
	}
	for _, r := range d.panels.rules {
		if there[r.Group+"/"+r.Name]--; there[r.Group+"/"+r.Name] < 0 {
			wrong = append(wrong, fmt.Sprintf("Prometheus does not have rule %s/%s", r.Group, r.Name))
		}
	}
	slices.Sort(fires)
	if fires = slices.Compact(fires); !slices.Equal(fires, []string{rolledBackAlert}) {
		wrong = append(wrong, fmt.Sprintf("after a release came back alerts %v fire, want %s alone", fires, rolledBackAlert))
	}
	d.panels.fires, d.panels.wrong = fires, wrong
	return nil
}

// Monitoring is what dashboards and rules showed during a proof.
type Monitoring struct {
	panel.Tally
	Rules  int      `json:"rules"`  // of the rule file, recording and alerting
	Firing []string `json:"firing"` // alerts that fired after a release came back
}

// tally judges all that was looked at.
func (p *panels) tally() Monitoring {
	m := Monitoring{Tally: p.book.Tally(), Rules: len(p.rules), Firing: p.fires}
	m.Misses = append(m.Misses, p.wrong...)
	return m
}

// String is one line, and one more for each miss.
func (m Monitoring) String() string {
	text := fmt.Sprintf("%s; %d rules are well; alerts that fired: %s", m.Tally, m.Rules, strings.Join(m.Firing, ", "))
	for _, miss := range m.Misses {
		text += "\n    missed: " + miss
	}
	return text
}
