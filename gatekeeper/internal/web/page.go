package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

//go:embed assets
var assets embed.FS

// recent is how many rollouts the first page lists.
const recent = 10

// pages are what people see in a browser. All of it can be read without the script, which only keeps it fresh.
type pages struct {
	door
	sessions  *sessions
	delivered *delivered
	templates map[string]*template.Template
	// release names the assets as they are: a browser may keep them as long as it wants, under this name.
	release string
}

func newPages(d door, s *sessions) *pages {
	layout := template.Must(template.New("layout.html").Funcs(helpers()).ParseFS(assets, "assets/layout.html", "assets/parts.html"))
	p := &pages{door: d, sessions: s, delivered: &delivered{}, templates: map[string]*template.Template{}}
	for _, name := range []string{"canaries", "history", "rollout", "confirm", "login", "message"} {
		p.templates[name] = template.Must(template.Must(layout.Clone()).ParseFS(assets, "assets/"+name+".html"))
	}
	sum := sha256.New()
	for _, name := range []string{"page.css", "live.js", "icon.svg"} {
		text, _ := assets.ReadFile("assets/" + name) // embedded: it is there
		sum.Write(text)
	}
	p.release = hex.EncodeToString(sum.Sum(nil)[:6])
	return p
}

func helpers() template.FuncMap {
	return template.FuncMap{
		"millis": func(seconds float64) string { return strconv.FormatFloat(1000*seconds, 'f', 1, 64) + " ms" },
		"share":  share, "number": number, "capital": capital,
		"count":   func(n int) string { return number(uint64(n)) },
		"percent": func(p float64) string { return share(p / 100) },
		"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
}

// route adds the pages to the door's routes. They are not part of the API, and who may not see them is told by a page.
func (p *pages) route(router gin.IRoutes) {
	router.GET("/", p.enter(Viewer), p.canaries)
	router.GET("/rollouts", p.enter(Viewer), p.history)
	router.GET("/rollouts/:id", p.enter(Viewer), p.rollout)
	for _, a := range acts() {
		router.GET("/rollouts/:id/"+string(a.Kind), p.enter(Operator), p.confirm(a))
		router.POST("/rollouts/:id/"+string(a.Kind), p.enter(Operator), p.sealed, p.carryOut(a))
	}
	router.GET("/login", p.enter(None), p.loginForm)
	router.POST("/login", p.enter(None), p.login)
	router.POST("/logout", p.enter(None), p.sealed, p.logout)
	router.GET("/assets/:release/:name", p.asset)
}

// enter lets through who may see a page; who has not signed in is asked to.
func (p *pages) enter(needed Role) gin.HandlerFunc {
	own := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxForm)
		who, err := p.identified(c.Request)
		switch {
		case own.Check(c.Request) != nil:
			p.show(c, http.StatusForbidden, "message", frame{Title: "Not done", Body: "The request came from another site."})
			c.Abort()
		case errors.Is(err, errTooMany):
			p.show(c, http.StatusTooManyRequests, "message", frame{Title: "Not known", Body: capital(err.Error()) + "."})
			c.Abort()
		case err != nil:
			p.show(c, http.StatusUnauthorized, "message", frame{Title: "Not known", Body: capital(err.Error()) + "."})
			c.Abort()
		case who.Role.may(needed):
			c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), identityKey{}, who))
		case who.Via == "":
			c.Redirect(http.StatusSeeOther, "/login?"+url.Values{"next": {c.Request.URL.RequestURI()}}.Encode())
			c.Abort()
		default:
			p.show(c, http.StatusForbidden, "message", frame{Title: "Not allowed", Body: fmt.Sprintf("%s has the role %s, this needs %s.", who.Name, who.Role, needed)})
			c.Abort()
		}
	}
}

// maxForm bounds what is read of a form, in bytes.
const maxForm = 16 << 10

// frame is what every page has around its own content.
type frame struct {
	Title   string
	Here    string // of the navigation
	Release string
	Now     time.Time
	// Events is where the script hears of news, "" where it only looks from time to time. Live is whether it looks at all.
	Events string
	Live   bool
	Said   string // what came of what the reader did
	Who    visitor
	Body   any
}

// show writes a page. It is made whole before its first byte is sent, so that no reader gets half of one.
func (p *pages) show(c *gin.Context, status int, name string, f frame) {
	f.Release, f.Now, f.Who = p.release, p.cfg.Now(), p.visitor(c)
	text := &bytes.Buffer{}
	if err := p.templates[name].ExecuteTemplate(text, "layout.html", f); err != nil {
		p.cfg.Log.Error("page not made", "page", name, "error", err)
		c.String(http.StatusInternalServerError, "internal error, see the gatekeeper's log\n")
		return
	}
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", text.Bytes())
}

// sorry is the page of an error, by the same kinds as the API's.
func (p *pages) sorry(c *gin.Context, err error) {
	switch {
	case errors.Is(err, rollout.ErrNotFound), errors.Is(err, rollout.ErrUnknownCanary):
		p.show(c, http.StatusNotFound, "message", frame{Title: "Not found", Body: "There is no such rollout, or it is no longer kept. The history has all that are."})
	default:
		p.cfg.Log.Error("request failed", "path", c.FullPath(), "error", err)
		p.show(c, http.StatusInternalServerError, "message", frame{Title: "Something is wrong here", Body: "The gatekeeper could not answer; its log says why. What it decides goes on without this page."})
	}
}

// asset serves what pages are made of.
func (p *pages) asset(c *gin.Context) {
	name := c.Param("name")
	text, err := fs.ReadFile(assets, path.Join("assets", path.Base(name)))
	kind := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
	if err != nil || kind == "" {
		c.String(http.StatusNotFound, "404 page not found")
		return
	}
	c.Header("Cache-Control", "public, max-age=31536000, immutable")
	c.Data(http.StatusOK, kind, text)
}

// card is one Canary on the first page.
type card struct {
	policy.Standing
	Sight  sight
	Budget string // what is left of the error budget, "" where nobody asks
	// Figures are the delivery metrics of dora.dev.
	Figures []figure
}

func (p *pages) canaries(c *gin.Context) {
	ctx, now := c.Request.Context(), p.cfg.Now()
	latest, total, err := p.cfg.Desk.Find(ctx, rollout.Query{Limit: recent})
	if err != nil {
		p.sorry(c, err)
		return
	}
	metrics, err := p.delivered.of(ctx, p.cfg.Desk, now)
	if err != nil {
		p.sorry(c, err)
		return
	}
	var cards []card
	for _, s := range p.cfg.Conductor.Standings() {
		cards = append(cards, card{Standing: s, Sight: lookAt(s, now), Budget: budgetLeft(s.Gates), Figures: figures(metrics[s.Canary])})
	}
	p.show(c, http.StatusOK, "canaries", frame{Title: "Canaries", Here: "canaries", Live: true, Body: struct {
		Cards  []card
		Recent []row
		Total  int
	}{cards, rows(latest, now), total}})
}

// budgetLeft is what the gate of the whole service's budget says.
func budgetLeft(gates []policy.Gate) string {
	for _, g := range gates {
		if g.Kind == policy.GateBudget && len(g.Stages) == 1 && g.Stages[0] == policy.StageStart {
			return cmp.Or(g.Value, g.Why)
		}
	}
	return ""
}

// detail is one rollout on its page.
type detail struct {
	rollout.Rollout
	Sight    sight
	Open     bool
	Gates    []policy.Gate
	Silent   float64
	Acts     []act
	Findings []finding
	Steps    []stepRow
	Rules    policy.Rules
	Timeline []rollout.Event // newest first
	Chart    int             // changes when the chart does
	Links    trace.Links
}

// Trace is the rollout's own.
func (d detail) Trace() traced {
	return traced{d.Links.ID(d.ID, d.Revision.Traceparent), d.Links.Rollout(d.ID, d.Revision.Traceparent)}
}

// Failed are the failing requests with their traces.
func (d detail) Failed() []failedRow {
	var all []failedRow
	for _, f := range d.Failing {
		all = append(all, failedRow{f, traced{f.Trace, d.Links.To(f.Trace)}})
	}
	return all
}

type failedRow struct {
	rollout.Failing
	Traced traced
}

// traced is a trace and where it is, "" where nobody knows.
type traced struct{ ID, URL string }

type stepRow struct {
	rollout.Step
	For string
}

func (p *pages) rollout(c *gin.Context) {
	ctx, now := c.Request.Context(), p.cfg.Now()
	s, err := p.standing(ctx, c.Param("id"))
	if err != nil {
		p.sorry(c, err)
		return
	}
	rules, err := p.rules(ctx, *s.Rollout)
	if err != nil {
		p.sorry(c, err)
		return
	}
	d := newDetail(s, rules, now)
	d.Links = p.cfg.Links
	f := frame{Title: d.Sight.Label + ": " + s.Rollout.Revision.Label() + " of " + s.Rollout.Canary.String(), Body: d, Live: d.Open}
	if d.Open {
		f.Events = "/api/v1/rollouts/" + s.Rollout.ID + "/events"
	}
	if one, _, ok := p.sessions.of(c.Request); ok {
		f.Said = p.sessions.said(one)
	}
	p.show(c, http.StatusOK, "rollout", f)
}

// standing is how the Canary of a rollout stands, with this rollout: as it is now where it is under way, else as remembered.
func (p *pages) standing(ctx context.Context, id string) (policy.Standing, error) {
	r, err := p.cfg.Desk.Get(ctx, id)
	if err != nil {
		return policy.Standing{}, err
	}
	if r.Result == "" {
		if s, err := p.cfg.Conductor.Why(r.Canary); err == nil && s.Rollout != nil && s.Rollout.ID == id {
			return s, nil
		}
	}
	return policy.Standing{Canary: r.Canary, Phase: r.Phase, Weight: r.Latest.Weight, Revision: r.Revision, Stable: r.Stable, Rollout: &r, Silent: -1}, nil
}

func newDetail(s policy.Standing, rules policy.Rules, now time.Time) detail {
	r := *s.Rollout
	d := detail{
		Rollout: r, Sight: lookAt(s, now), Open: r.Result == "", Gates: s.Gates, Silent: s.Silent, Acts: actsFor(s, now), Findings: findings(r), Rules: rules,
		Chart: r.Tape.Ticks / chartEvery,
	}
	for _, step := range r.Steps {
		d.Steps = append(d.Steps, stepRow{step, span(step.From, step.To, now)})
	}
	for i := range r.Timeline {
		d.Timeline = append(d.Timeline, r.Timeline[len(r.Timeline)-1-i])
	}
	return d
}

// chartEvery is by how many ticks a chart is drawn anew: the words are always fresh, the picture need not be.
const chartEvery = 5

// Silence says when Flagger asked last.
func (d detail) Silence() string {
	if d.Silent < 0 {
		return "not since the gatekeeper began"
	}
	return fmt.Sprintf("%.0f s ago", d.Silent)
}

// Took is how long the rollout has been, or was, under way.
func (d detail) Took(now time.Time) string { return span(d.StartedAt, d.EndedAt, now) }

// Good are the statuses that count as good.
func (d detail) Good() string { return strings.Join(d.Rules.SLO.Good, ", ") }

// row is a rollout in a list.
type row struct {
	rollout.Brief
	Mood  mood
	Label string
	Took  string
}

func rows(list []rollout.Brief, now time.Time) []row {
	all := make([]row, 0, len(list))
	for _, b := range list {
		m, label := resultWord(b)
		all = append(all, row{Brief: b, Mood: m, Label: label, Took: span(b.StartedAt, b.EndedAt, now)})
	}
	return all
}

func resultWord(b rollout.Brief) (mood, string) {
	if b.Result == "" {
		return busy, "Under way"
	}
	s := ended(rollout.Rollout{Result: b.Result})
	return s.Mood, s.Label
}

// Mark is the row's mood as a sign.
func (r row) Mark() string { return sight{Mood: r.Mood}.Mark() }
