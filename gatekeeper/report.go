package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
)

type reportCmd struct {
	server `embed:""`

	ID     string `arg:"" optional:"" help:"Id of the rollout; --canary instead chooses the newest ones of a Canary."`
	Canary string `placeholder:"NAMESPACE/NAME" help:"Canary whose rollouts are reported."`
	Last   int    `default:"1" help:"How many of the Canary's newest rollouts, at most 100; the newest comes last."`
	Output string `enum:"markdown,json,svg" default:"markdown" help:"The entry of the report, all that is recorded (as the sidecar has it), or the chart."`
	File   string `help:"File to write instead of the standard output."`
}

// maxReports bounds one call.
const maxReports = 100

// Run asks the gatekeeper and writes what it says as it came.
func (c reportCmd) Run(ctx context.Context, s streams) error {
	ids, err := c.ids(ctx)
	if err != nil {
		return err
	}
	if len(ids) > 1 && c.Output == "svg" {
		return errors.New("report: a chart is of one rollout, ask for one at a time")
	}
	part := map[string]string{"markdown": "report.md", "json": "tape", "svg": "chart.svg"}[c.Output]
	var parts [][]byte
	for _, id := range ids {
		var answer []byte
		if err := c.call(ctx, http.MethodGet, "/api/v1/rollouts/"+url.PathEscape(id)+"/"+part, nil, &answer); err != nil {
			return fmt.Errorf("report of %s: %w", id, err)
		}
		parts = append(parts, answer)
	}
	text := bytes.Join(parts, []byte("\n"))
	if c.File != "" {
		err = os.WriteFile(c.File, text, 0o644)
	} else {
		_, err = s.out.Write(text)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// ids are the rollouts that are asked for, the newest last.
func (c reportCmd) ids(ctx context.Context) (ids []string, err error) {
	switch {
	case (c.ID == "") == (c.Canary == ""):
		return nil, errors.New("report: name one rollout by its id, or a Canary by --canary namespace/name")
	case c.ID != "":
		return []string{c.ID}, nil
	case c.Last < 1 || c.Last > maxReports:
		return nil, fmt.Errorf("report: --last is from 1 to %d", maxReports)
	}
	var list struct {
		Rollouts []struct {
			ID string `json:"id"`
		} `json:"rollouts"`
	}
	query := url.Values{"canary": {c.Canary}, "limit": {fmt.Sprint(c.Last)}}
	if err := c.call(ctx, http.MethodGet, "/api/v1/rollouts?"+query.Encode(), nil, &list); err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(list.Rollouts) {
		ids = append(ids, r.ID)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("report: %s has had no rollout", c.Canary)
	}
	return ids, nil
}
