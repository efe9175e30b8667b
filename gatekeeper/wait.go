package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

type waitCmd struct {
	server `embed:""`

	DeployID      string        `name:"deploy-id" required:"" help:"The pod template's annotation rollout.monitoring/deploy-id that the pipeline set."`
	Canary        string        `help:"namespace/name of the Canary; needed when several carry the deploy id."`
	Timeout       time.Duration `default:"30m" help:"How long to wait."`
	Accept        []string      `default:"promoted" enum:"promoted,rolled-back,superseded,nothing-to-do" help:"Results that are success: promoted,nothing-to-do where a first installation is fine, rolled-back for a rehearsal."`
	AbortOnCancel bool          `name:"abort-on-cancel" help:"When interrupted, ask the gatekeeper to send the release back."`
	Output        string        `enum:"text,json" default:"text" help:"text, or json: a line for each change and one for the end."`
}

// Help is printed below the flags.
func (waitCmd) Help() string {
	return `Waits for what becomes of one release, named by its deploy id, and never takes another one's result for it.

Exit codes: 0 promoted; 1 wrong call, or the gatekeeper can not be reached; 2 rolled back, aborted, or stuck in its promotion;
3 not decided in time; 4 superseded by a newer release, or nothing to do; 130 interrupted. The last line of standard error says why.
With --accept the results that are named there end with 0, and a promotion that is not ends with 2.

  gatekeeper wait --deploy-id "$GITHUB_SHA-$GITHUB_RUN_ID-$GITHUB_RUN_ATTEMPT" --canary demo/podinfo --timeout 40m --abort-on-cancel`
}

// The exit codes of wait beside 0 and 1.
const (
	exitBack        = 2
	exitLate        = 3
	exitNothing     = 4
	exitInterrupted = 130
)

const (
	// firstContact is how long a gatekeeper that was never reached is asked: a wrong address should not take the timeout.
	firstContact = 30 * time.Second
	// longAsk is how long the gatekeeper may hold an answer back until there is news, shortAsk while somebody watches.
	longAsk  = 25 * time.Second
	shortAsk = time.Second
	// transit is what an answer may take beyond that.
	transit = 10 * time.Second
	// farewellTime bounds what is asked after the end: the abort, the report.
	farewellTime = 30 * time.Second
	// maxAfter bounds, in seconds, how long we let ourselves be told to wait.
	maxAfter = 30
	// cancelTime bounds an abort: GitHub ends a cancelled step after 7.5 s.
	cancelTime = 5 * time.Second
)

// release is the gatekeeper's answer about a deploy id, web.Verdict, as far as it is shown.
type release struct {
	State   string           `json:"state"`
	Text    string           `json:"text"`
	Mark    string           `json:"mark"` // another one with all that is news
	Canary  *rollout.Key     `json:"canary"`
	Rollout *rollout.Brief   `json:"rollout"`
	Verdict *rollout.Verdict `json:"verdict"`
	Gates   []policy.Gate    `json:"gates"`
	Trace   string           `json:"traceUrl"`

	raw []byte // as it came
}

// code is the exit code of a state that is final.
func (r release) code() (code int, final bool) {
	switch r.State {
	case string(rollout.Promoted):
		return 0, true
	case string(rollout.RolledBack), string(rollout.Aborted), string(rollout.Stuck):
		return exitBack, true
	case string(rollout.Superseded), "nothing-to-do":
		return exitNothing, true
	default:
		return 0, false
	}
}

// reason is why the release stands as it does: the verdict's first reason where the verdict sent it back.
func (r release) reason() string {
	if r.State == string(rollout.RolledBack) && r.Verdict != nil && r.Verdict.Outcome == rollout.Fail {
		return r.Verdict.Text()
	}
	return r.Text
}

// Run waits and tells.
func (c waitCmd) Run(ctx context.Context, s streams) error {
	w := waiter{waitCmd: c, client: c.client(), show: newShow(s, c.Output == "json", c.InActions), began: time.Now()}
	w.client.say = w.show.note
	last, err := w.wait(ctx)
	w.show.end()
	switch {
	case err == nil:
		err = w.judged(last)
	case ctx.Err() != nil:
		err = w.interrupted(ctx, last)
	case errors.Is(err, errLate):
		err = exitError{fmt.Errorf("%w after %s: %s", err, c.Timeout, last.where()), exitLate}
	}
	if trouble := w.conclude(ctx, last, err, s); trouble != nil {
		w.show.note(trouble.Error()) // what became of the release counts more
	}
	return err
}

// judged is nil for a result that is accepted, and says why not for another one.
func (c waitCmd) judged(last release) error {
	code, _ := last.code()
	switch {
	case slices.Contains(c.Accept, last.State):
		return nil
	case code == 0:
		return exitError{fmt.Errorf("%s; accepted is only: %s", last.reason(), strings.Join(c.Accept, ", ")), exitBack}
	default:
		return exitError{errors.New(last.reason()), code}
	}
}

// errLate is returned when the time is over.
var errLate = errors.New("not decided")

// where is how far it came, also when nothing was ever heard.
func (r release) where() string {
	if r.State == "" {
		return "the gatekeeper did not answer"
	}
	return r.Text
}

// waiter is one wait at work.
type waiter struct {
	waitCmd
	client *client
	show   *show
	began  time.Time
}

// wait follows the release until its end, which may be that of ctx or of the time.
func (w *waiter) wait(ctx context.Context) (last release, err error) {
	due, cancel := context.WithTimeoutCause(ctx, w.Timeout, errLate)
	defer cancel()
	for {
		now, err := w.look(due, last)
		if due.Err() != nil {
			return last, context.Cause(due)
		}
		if err != nil {
			return last, err
		}
		w.show.state(now, time.Since(w.began), now.Mark != last.Mark)
		last = now
		if _, final := last.code(); final {
			return last, nil
		}
	}
}

// look asks once more, and again while nobody answers: a gatekeeper that restarts, or hands over to another replica, comes
// back. One that was never reached is given up soon.
func (w *waiter) look(ctx context.Context, last release) (release, error) {
	patience := time.Duration(0) // until ctx ends
	if last.State == "" {
		patience = firstContact
	}
	waits := backoff.NewExponentialBackOff()
	waits.MaxInterval = 5 * time.Second
	lost := false
	now, err := backoff.Retry(ctx, func() (release, error) { return w.ask(ctx, last) },
		backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(patience),
		backoff.WithNotify(func(err error, _ time.Duration) {
			if !lost {
				w.show.note("no answer, asking again: " + err.Error())
			}
			lost = true
		}))
	if lost && err == nil {
		w.show.note("the gatekeeper answers again")
	}
	return now, err
}

// ask is one question. The gatekeeper answers when there is news, or at once where somebody watches.
func (w *waiter) ask(ctx context.Context, last release) (release, error) {
	query := url.Values{"deploy-id": {w.DeployID}}
	if w.Canary != "" {
		query.Set("canary", w.Canary)
	}
	hold := time.Duration(0)
	if last.State != "" {
		if hold = longAsk; w.show.live {
			hold = shortAsk
		} else {
			query.Set("seen", last.Mark)
		}
		query.Set("wait", hold.String())
	}
	ctx, cancel := context.WithTimeout(ctx, hold+transit)
	defer cancel()
	now := release{}
	err := w.client.ask(ctx, http.MethodGet, "/api/v1/verdict?"+query.Encode(), nil, &now.raw)
	if err == nil {
		if err = json.Unmarshal(now.raw, &now); err != nil || now.State == "" {
			err = backoff.Permanent(errors.New("what answers at --server is not the gatekeeper's people's door, or an older one"))
		}
	}
	return now, retried(err)
}

// retried marks errors that asking again does not mend.
func retried(err error) error {
	no := refusal{}
	switch {
	case !errors.As(err, &no):
		return err
	case no.status/100 != 5 && no.status != http.StatusTooManyRequests && no.status != http.StatusRequestTimeout:
		return backoff.Permanent(err)
	case no.after > 0:
		return fmt.Errorf("%w (%w)", err, backoff.RetryAfter(min(no.after, maxAfter)))
	default:
		return err
	}
}

// interrupted asks to send the release back, if that was wanted.
func (w *waiter) interrupted(ctx context.Context, last release) error {
	why := "interrupted; the release goes on without being waited for"
	if w.AbortOnCancel {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
		defer cancel()
		why = "interrupted; the release was sent back"
		if err := w.abort(ctx, last); err != nil {
			why = "interrupted; the release was NOT sent back: " + err.Error()
		}
	}
	return exitError{errors.New(why), exitInterrupted}
}

func (w *waiter) abort(ctx context.Context, last release) error {
	if last.Rollout == nil {
		return errors.New("its rollout has not begun; gatekeeper settle --deploy-id sends it back when it does")
	}
	var answer []byte
	return w.client.ask(ctx, http.MethodPost, "/api/v1/rollouts/"+url.PathEscape(last.Rollout.ID)+"/abort", map[string]string{"why": "the pipeline that waited for it was cancelled"}, &answer)
}

// conclusion is the last line for machines.
type conclusion struct {
	Result   string  `json:"result"` // a state, or timeout, interrupted, error
	ExitCode int     `json:"exitCode"`
	Reason   string  `json:"reason"`
	Rollout  string  `json:"rollout"` // its id, "" when there is none
	Canary   string  `json:"canary"`
	Report   string  `json:"reportUrl"`
	Trace    string  `json:"traceUrl,omitempty"` // of the rollout, where the gatekeeper knows how people come to traces
	Seconds  float64 `json:"seconds"`            // that was waited
	// Exposed is for how many seconds users could meet the release: from its first traffic to its end. 0 without either.
	Exposed float64 `json:"exposedSeconds,omitempty"`
}

// exposed is the time from a rollout's first traffic to its end, 0 where one of them is missing.
func exposed(r *rollout.Brief) time.Duration {
	if r == nil || r.FirstTrafficAt.IsZero() || r.EndedAt.IsZero() {
		return 0
	}
	return r.EndedAt.Sub(r.FirstTrafficAt)
}

// conclude tells machines and GitHub Actions how it ended.
func (w *waiter) conclude(ctx context.Context, last release, err error, s streams) error {
	end := conclusion{Result: last.State, Reason: last.reason(), Trace: last.Trace, Seconds: time.Since(w.began).Round(time.Second).Seconds()}
	end.Exposed = exposed(last.Rollout).Round(time.Second).Seconds()
	if err != nil {
		end.ExitCode, end.Reason = exitCode(err), err.Error()
	}
	if special := map[int]string{1: "error", exitLate: "timeout", exitInterrupted: "interrupted"}[end.ExitCode]; special != "" {
		end.Result = special
	}
	if last.Canary != nil {
		end.Canary = last.Canary.String()
	}
	path := ""
	if last.Rollout != nil {
		end.Rollout = last.Rollout.ID
		path = "/api/v1/rollouts/" + url.PathEscape(end.Rollout) + "/report.md"
		end.Report = public(w.Server) + path
	}
	w.show.conclude(end)
	if !w.InActions {
		return nil
	}
	title := fmt.Sprintf("release %s: %s", w.DeployID, end.Result)
	switch end.ExitCode {
	case 0:
	case exitNothing:
		w.annotate(s.err, "warning", title, end.Reason)
	default:
		w.annotate(s.err, "error", title, end.Reason)
	}
	outputs := []output{
		{"result", end.Result},
		{"rollout", end.Rollout},
		{"canary", end.Canary},
		{"reason", end.Reason},
		{"report-url", end.Report},
	}
	if end.Exposed > 0 {
		outputs = append(outputs, output{"exposed-seconds", strconv.FormatFloat(end.Exposed, 'f', -1, 64)})
	}
	if end.Trace != "" {
		outputs = append(outputs, output{"trace-url", end.Trace})
	}
	return errors.Join(w.summarize(w.report(ctx, end, path)), w.give(outputs))
}

// report is the rollout's entry, or what there is to say without one. Its last responses are waited for.
func (w *waiter) report(ctx context.Context, end conclusion, path string) string {
	short := fmt.Sprintf("## Release %s: %s\n\n%s\n", plain(w.DeployID), end.Result, plain(end.Reason))
	if path == "" || end.ExitCode == exitInterrupted { // nobody gives us the time
		return short
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTime)
	defer cancel()
	if end.Result != "timeout" {
		w.settle(ctx, end.Rollout)
	}
	var text []byte
	if err := w.client.ask(ctx, http.MethodGet, path, nil, &text); err != nil {
		return short + "\nThe report can not be read: " + plain(err.Error()) + "\n"
	}
	return linked(string(bytes.TrimSpace(text)), strings.TrimSuffix(end.Report, "report.md")) + "\n"
}

// linked is an entry with links in place of its pictures, which stand beside it: GitHub shows none that it can not fetch.
func linked(entry, beside string) string {
	return regexp.MustCompile(`(?m)^!\[([^\]]*)\]\(([^():/]+)\)$`).ReplaceAllString(entry, "[$1]("+strings.ReplaceAll(beside, "$", "$$")+"$2)")
}

// settle waits until the rollout's counts are final, as long as there is time.
func (w *waiter) settle(ctx context.Context, id string) {
	_, _ = backoff.Retry(ctx, func() (bool, error) { // else the entry says that it is not final
		var r struct {
			Reported bool `json:"reported"`
		}
		err := w.client.ask(ctx, http.MethodGet, "/api/v1/rollouts/"+url.PathEscape(id), nil, &r)
		if err == nil && !r.Reported {
			err = errors.New("not final yet")
		}
		return r.Reported, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)))
}

// public is the server's URL without a password.
func public(server string) string {
	where, err := url.Parse(server)
	if err != nil {
		return ""
	}
	where.User = nil
	return strings.TrimSuffix(where.String(), "/")
}
