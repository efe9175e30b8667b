package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// perPage is how many rollouts one page of the history has.
	perPage = 50
	// maxPage bounds how far one may leaf; filters find what is further back.
	maxPage = 100_000
	// day is how a date field of a form is written.
	day = "2006-01-02"
)

// filter is the history's form, as it was sent; what can not be understood is empty.
type filter struct {
	Canary, Result, From, To, Text string
	Page                           int
}

func newFilter(q url.Values) filter {
	f := filter{Canary: cut(q.Get("canary")), Text: cut(q.Get("q")), From: date(q.Get("from")), To: date(q.Get("to"))}
	if slices.Contains(results(), rollout.Result(q.Get("result"))) {
		f.Result = q.Get("result")
	}
	f.Page, _ = strconv.Atoi(q.Get("page")) // 0 when it is no number
	f.Page = min(max(f.Page, 1), maxPage)
	return f
}

// cut bounds what one may look for, in bytes.
func cut(s string) string { return s[:min(len(s), 200)] }

func date(s string) string {
	if _, err := time.Parse(day, s); err != nil {
		return ""
	}
	return s
}

func results() []rollout.Result {
	return []rollout.Result{rollout.Open, rollout.Promoted, rollout.RolledBack, rollout.Superseded, rollout.Aborted, rollout.Stuck}
}

// query asks for the rollouts of the days from From to To, both included, in UTC.
func (f filter) query() rollout.Query {
	q := rollout.Query{Canary: f.Canary, Result: rollout.Result(f.Result), Text: f.Text, Limit: perPage, Offset: (f.Page - 1) * perPage}
	if t, err := time.Parse(day, f.From); err == nil {
		q.Since = t
	}
	if t, err := time.Parse(day, f.To); err == nil {
		q.Before = t.AddDate(0, 0, 1)
	}
	return q
}

// at is the address of another page with the same filter.
func (f filter) at(page int) string {
	v := url.Values{}
	for key, value := range map[string]string{"canary": f.Canary, "result": f.Result, "from": f.From, "to": f.To, "q": f.Text} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return "/rollouts"
	}
	return "/rollouts?" + v.Encode()
}

// leaf is one page of the history.
type leaf struct {
	Filter      filter
	Canaries    []string
	Results     []option
	Rows        []row
	Total       int
	First, Last int // of Total, from 1
	Newer       string
	Older       string
}

type option struct{ Value, Label string }

func (p *pages) history(c *gin.Context) {
	f := newFilter(c.Request.URL.Query())
	list, total, err := p.cfg.Desk.Find(c.Request.Context(), f.query())
	if err != nil {
		p.sorry(c, err)
		return
	}
	l := leaf{Filter: f, Rows: rows(list, p.cfg.Now()), Total: total}
	if len(list) > 0 {
		l.First = (f.Page-1)*perPage + 1
		l.Last = l.First + len(list) - 1
	}
	if f.Page > 1 {
		l.Newer = f.at(min(f.Page-1, max(1, (total+perPage-1)/perPage)))
	}
	if l.Last > 0 && l.Last < total {
		l.Older = f.at(f.Page + 1)
	}
	for _, s := range p.cfg.Conductor.Standings() {
		l.Canaries = append(l.Canaries, s.Canary.String())
	}
	if f.Canary != "" && !slices.Contains(l.Canaries, f.Canary) {
		l.Canaries = append(l.Canaries, f.Canary)
	}
	for _, r := range results() {
		_, label := resultWord(rollout.Brief{Result: r})
		if r == rollout.Open {
			label = "Under way"
		}
		l.Results = append(l.Results, option{string(r), label})
	}
	p.show(c, http.StatusOK, "history", frame{Title: "History", Here: "history", Body: l})
}
