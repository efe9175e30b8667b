package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// What people read is made from the ledger, so every replica has it, and also where report files could not be written.

const (
	markdown = "text/markdown; charset=utf-8"
	// entriesAtOnce bounds how many entries of the ledger are in memory for the report.
	entriesAtOnce = 100
	// beforeLedger is the place before the ledger's begin, which is 0.
	beforeLedger = -1
)

// entry is one rollout's, also while it is under way.
func (d door) entry(c *gin.Context) {
	tape, err := d.recorded(c.Request.Context(), c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	text := &bytes.Buffer{}
	if err := report.Write(text, tape, chartAt("chart.svg", tape), d.cfg.Links); err != nil {
		d.refuse(c, err)
		return
	}
	c.Data(http.StatusOK, markdown, text.Bytes())
}

// chartAt is the address of a rollout's chart beside its report, "" when there is none to be drawn. It is relative, so it
// holds behind a proxy's path too.
func chartAt(address string, tape policy.Tape) string {
	if tape.Rollout.FirstTrafficAt.IsZero() || tape.Rollout.Tape.Ticks == 0 {
		return ""
	}
	return address
}

// report is the whole one, page by page. It begins with what was closed before there was a ledger.
func (d door) report(c *gin.Context) {
	begun := false
	for after := int64(beforeLedger); ; {
		text, last, err := d.pageOfReport(c.Request.Context(), after)
		switch {
		case err != nil && !begun:
			d.refuse(c, err)
			return
		case err != nil: // the status is on its way: cut off, the client sees that it is not whole
			d.cfg.Log.Error("report cut off", "error", err)
			panic(http.ErrAbortHandler)
		case last == after && !begun:
			c.String(http.StatusNotFound, "no rollout has ended yet\n")
			return
		case last == after:
			return
		}
		if after = last; len(text) == 0 {
			continue
		}
		if !begun {
			c.Header("Content-Type", markdown)
			text = append([]byte(report.Heading), text...)
		}
		begun = true
		if _, err := c.Writer.Write(text); err != nil {
			return // the client has gone
		}
	}
}

// pageOfReport is the report's entries of the ledger's next ones after seq, and the last of these; after itself when
// there are no more.
func (d door) pageOfReport(ctx context.Context, after int64) (text []byte, last int64, err error) {
	if after == beforeLedger {
		text, err := d.adopted(ctx)
		return text, 0, err
	}
	entries, err := d.cfg.Desk.Entries(ctx, after, entriesAtOnce)
	if err != nil {
		return nil, 0, err
	}
	page := &bytes.Buffer{}
	for _, e := range entries {
		after = e.Seq
		if e.Kind != rollout.EntryRollout {
			continue
		}
		tape, err := policy.TapeOf(e)
		if err != nil { // it must not hide all the others
			d.cfg.Log.Error("an entry of the ledger is left out of the report: run gatekeeper verify", "seq", e.Seq, "rollout", e.Rollout, "error", err)
			continue
		}
		if err := d.write(page, tape); err != nil {
			return nil, 0, err
		}
	}
	return page.Bytes(), after, nil
}

// adopted are the report's entries of rollouts that no entry of the ledger closes.
func (d door) adopted(ctx context.Context) ([]byte, error) {
	ids, err := d.cfg.Desk.Adopted(ctx)
	if err != nil {
		return nil, err
	}
	page := &bytes.Buffer{}
	for _, id := range ids {
		tape, err := d.recorded(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := d.write(page, tape); err != nil {
			return nil, err
		}
	}
	return page.Bytes(), nil
}

// write adds one entry of the whole report.
func (d door) write(page *bytes.Buffer, tape policy.Tape) error {
	page.WriteByte('\n')
	return report.Write(page, tape, chartAt("api/v1/rollouts/"+url.PathEscape(tape.Rollout.ID)+"/chart.svg", tape), d.cfg.Links)
}

// chart is a rollout's picture, in the colours that ?palette=dark asks for, light without. It is kept for a while: every
// open page asks for it.
func (d door) chart(c *gin.Context) {
	options := chart.Options{}
	if c.Query("palette") == "dark" {
		options.Palette = chart.Dark()
	}
	r, err := d.cfg.Desk.Get(c.Request.Context(), c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	shows := fmt.Sprintf("%t %d %d %s %s", c.Query("palette") == "dark", r.Tape.Ticks/ticksAPicture, r.Version, r.Result, r.ID)
	picture, known := d.pictures.Get(shows)
	if !known {
		leave, ok := d.turn(c, d.turns.quick)
		if !ok {
			return
		}
		defer leave()
		if picture, err = d.draw(c.Request.Context(), r.ID, options); err != nil {
			d.refuse(c, err)
			return
		}
		d.pictures.Add(shows, picture)
	}
	c.Data(http.StatusOK, "image/svg+xml", picture)
}

func (d door) draw(ctx context.Context, id string, options chart.Options) ([]byte, error) {
	tape, err := d.recorded(ctx, id)
	if err != nil {
		return nil, err
	}
	picture := &bytes.Buffer{}
	err = chart.Draw(picture, tape, options)
	return picture.Bytes(), err
}

// tape is a rollout's ticks and verdicts with the rules, for gatekeeper replay.
func (d door) tape(c *gin.Context) {
	tape, err := d.recorded(c.Request.Context(), c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, tape)
}

// recorded is all that is recorded of a rollout.
func (d door) recorded(ctx context.Context, id string) (policy.Tape, error) {
	r, err := d.cfg.Desk.Get(ctx, id)
	if err != nil {
		return policy.Tape{}, err
	}
	rules, err := d.rules(ctx, r)
	if err != nil {
		return policy.Tape{}, err
	}
	ticks, err := d.cfg.Desk.Ticks(ctx, r.ID)
	if err != nil {
		return policy.Tape{}, err
	}
	tape := policy.Tape{Rollout: r, Rules: rules, Ticks: ticks}
	switch closed, err := d.cfg.Desk.Account(ctx, r.ID); {
	case errors.Is(err, rollout.ErrNotFound): // still under way
	case err != nil:
		return policy.Tape{}, err
	default:
		tape.Seq, tape.Hash = closed.Seq, closed.Hash
	}
	return tape, nil
}

// rules are those that r was judged by.
func (d door) rules(ctx context.Context, r rollout.Rollout) (policy.Rules, error) {
	if r.PolicyDigest == "" { // from before they were kept
		return d.cfg.Policies.For(r.Policy), nil
	}
	document, err := d.cfg.Desk.Policy(ctx, r.PolicyDigest)
	if err != nil {
		return policy.Rules{}, err
	}
	return policy.FromDocument(document)
}
