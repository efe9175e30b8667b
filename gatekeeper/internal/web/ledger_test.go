package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
)

func TestTheLedgerAndABackupAsFiles(t *testing.T) {
	h, r, _ := newDoor(t, nil)
	for path, open := range map[string]int{"/api/v1/ledger": 0, "/api/v1/backup": 1} {
		answer := ask(t, h, http.MethodGet, path, "operator-secret", "")
		v := ledger.NewVerifier("")
		for line, err := range ledger.Read(answer.Body) {
			if err = errors.Join(err, v.Take(line)); err != nil {
				t.Fatal(err)
			}
		}
		if sum, err := v.Close(); err != nil || sum.Open != open || answer.Code != http.StatusOK {
			t.Errorf("%s: %d, %+v %v, want %d open such as %s", path, answer.Code, sum, err, open, r.ID)
		}
	}
}

// brokenDesk fails after what it wrote.
type brokenDesk struct {
	Desk
	first string
}

func (b brokenDesk) WriteLedger(_ context.Context, to io.Writer) error {
	if b.first != "" {
		_, _ = io.WriteString(to, b.first)
	}
	return errors.New("the disk fails")
}

func TestAFileThatFailsIsNotWhole(t *testing.T) {
	for first, want := range map[string]int{"": http.StatusInternalServerError, `{"ledger":{"format":1}}` + "\n": http.StatusOK} {
		_, _, cfg := newDoor(t, nil)
		cfg.Desk = brokenDesk{cfg.Desk, first}
		answer := ask(t, New(cfg), http.MethodGet, "/api/v1/ledger", "viewer-secret", "")
		if body := answer.Body.String(); answer.Code != want || !strings.HasPrefix(body, first) || strings.Contains(body, `"end"`) || strings.Contains(body, "disk") {
			t.Errorf("after %q: %d %q", first, answer.Code, body)
		}
	}
}
