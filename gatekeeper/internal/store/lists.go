package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// line is a rollout's row: what lists, filters and delivery metrics are made from.
type line struct {
	ID         string          `json:"id"`
	Canary     string          `json:"canary"`
	StartedAt  int64           `json:"startedAt"` // Unix milliseconds
	Reported   int64           `json:"reported"`
	EndedAt    int64           `json:"endedAt"` // Unix milliseconds, 0: not yet
	Result     string          `json:"result"`
	DeployID   string          `json:"deployId"`
	Search     string          `json:"search"`
	Brief      json.RawMessage `json:"brief"`
	TapeTicks  int             `json:"tapeTicks"`
	TapeDigest string          `json:"tapeDigest"`
}

func lineOf(r *rollout.Rollout) (line, error) {
	brief, err := json.Marshal(r.Brief())
	if err != nil {
		return line{}, err
	}
	l := line{
		ID: r.ID, Canary: r.Canary.String(), StartedAt: r.StartedAt.UnixMilli(), Result: string(r.Result), DeployID: plain(r.Revision.DeployID),
		Search: plain(strings.ToLower(strings.Join([]string{r.ID, r.Revision.Image, r.Revision.DeployID, r.Revision.Commit}, "\n"))),
		Brief:  brief, TapeTicks: r.Tape.Ticks, TapeDigest: r.Tape.Digest,
	}
	if r.Reported {
		l.Reported = 1
	}
	if !r.EndedAt.IsZero() {
		l.EndedAt = r.EndedAt.UnixMilli()
	}
	return l, nil
}

// CheckLists compares the row of each closed rollout with the entry that closed it; a ledger's file does not have the rows.
// The error is a *ledger.Misfit for the first that is not as the entry says. self is as in ledger.NewVerifier: a row that
// another version wrote may lack what this one adds.
func (s *Store) CheckLists(ctx context.Context, self string) error {
	var last int64
	for {
		written, err := s.lines(ctx, last)
		if err != nil {
			return fmt.Errorf("compare lists with the ledger: %w", err)
		}
		for _, w := range written {
			if err := w.fits(self); err != nil {
				return err
			}
			last = w.seq
		}
		if len(written) < entriesAtOnce {
			return nil
		}
	}
}

// closedLine is a row and the entry it has to fit.
type closedLine struct {
	line
	seq  int64
	id   string
	body []byte
}

// lines are the rows of the rollouts that the next entries close; one that is not there is empty.
func (s *Store) lines(ctx context.Context, after int64) ([]closedLine, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT e.seq, e.rollout, e.body, coalesce(id, ''), coalesce(canary, ''), coalesce(started_at, 0), coalesce(reported, 0),
		coalesce(ended_at, 0), coalesce(result, ''), coalesce(deploy_id, ''), coalesce(search, ''), coalesce(brief, ''), coalesce(tape_ticks, 0), coalesce(tape_digest, '')
		FROM entries e LEFT JOIN rollouts ON id = e.rollout WHERE e.kind = 'rollout' AND e.seq > $1 ORDER BY e.seq LIMIT $2`, after, entriesAtOnce)
	if err != nil {
		return nil, err
	}
	var all []closedLine
	err = each(rows, func() error {
		var l closedLine
		var brief string
		err := rows.Scan(&l.seq, &l.id, &l.body, &l.ID, &l.Canary, &l.StartedAt, &l.Reported, &l.EndedAt, &l.Result, &l.DeployID, &l.Search, &brief, &l.TapeTicks, &l.TapeDigest)
		l.Brief = json.RawMessage(brief)
		all = append(all, l)
		return err
	})
	return all, err
}

func (w closedLine) fits(self string) error {
	unreadable := func(where string, err error) error {
		return &ledger.Misfit{Seq: w.seq, Rollout: w.id, Where: where, Written: "a document that can not be read: " + err.Error(), Expected: "a rollout"}
	}
	var account rollout.Account
	if err := json.Unmarshal(w.body, &account); err != nil {
		return unreadable("body", err)
	}
	expected, err := lineOf(&account.Rollout)
	if err != nil {
		return unreadable("body", err)
	}
	if w.ID == "" {
		return &ledger.Misfit{Seq: w.seq, Rollout: w.id, Where: "list", Written: "nothing", Expected: "a row, as the entry says"}
	}
	var brief map[string]json.RawMessage
	if err := json.Unmarshal(w.Brief, &brief); err != nil {
		return unreadable("list.brief", err)
	}
	if by := account.Rollout.JudgedBy; len(by) == 0 || by[len(by)-1] != self {
		if expected.Brief, err = only(expected.Brief, brief); err != nil {
			return unreadable("body", err)
		}
	}
	documents := make([][]byte, 2)
	for i, l := range []line{w.line, expected} {
		if documents[i], err = json.Marshal(l); err != nil {
			return unreadable("list", err)
		}
	}
	return ledger.Compare(w.seq, w.id, "list", documents[0], documents[1])
}

// only is the document without the fields that names does not have.
func only(document []byte, names map[string]json.RawMessage) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(document, &all); err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return names[name] == nil })
	return json.Marshal(all)
}
