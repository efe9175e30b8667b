package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Two people who look at the same version and click at once, again and again: one decides, the other learns that he came
// second and what the first one said. The ledger has one decision of each pair.
func TestOfTwoClicksAtOnceOneDecides(t *testing.T) {
	h := newHouse(t)
	id := h.release("v2")
	server := h.serve()
	type answer struct {
		status int
		view   struct {
			Version int `json:"version"`
			Rollout struct {
				Version   int `json:"version"`
				Decisions []struct {
					Claims string `json:"claims"`
				} `json:"decisions"`
			} `json:"rollout"`
		}
	}
	click := func(by, what string, version int) (a answer, err error) {
		body := fmt.Sprintf(`{"by":%q,"why":"seen","version":%d}`, by, version)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/v1/rollouts/"+id+"/"+what, strings.NewReader(body))
		if err != nil {
			return a, err
		}
		req.Header.Set("Authorization", "Bearer operator-secret")
		resp, err := server.Client().Do(req)
		if err != nil {
			return a, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return a, err
		}
		a.status = resp.StatusCode
		return a, json.Unmarshal(text, &a.view)
	}
	const rounds = 25
	for round := range rounds {
		before, err := h.store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var answers [2]answer
		var errs [2]error
		var both sync.WaitGroup
		for i, what := range []string{"hold", "resume"} {
			both.Go(func() { answers[i], errs[i] = click(fmt.Sprint("person-", i), what, before.Version) })
		}
		both.Wait()
		if errs[0] != nil || errs[1] != nil {
			t.Fatal(errs)
		}
		first := slices.IndexFunc(answers[:], func(a answer) bool { return a.status == http.StatusOK })
		if first < 0 || answers[1-first].status != http.StatusConflict {
			t.Fatalf("round %d: answered %d and %d, want 200 and 409", round, answers[0].status, answers[1].status)
		}
		now, said := answers[1-first].view.Rollout, fmt.Sprint("person-", first)
		if now.Version != answers[first].view.Version || len(now.Decisions) != round+1 || now.Decisions[round].Claims != said {
			t.Fatalf("round %d: the second one is told %+v, want version %d and %d decisions, the last by %s", round, now, answers[first].view.Version, round+1, said)
		}
	}
	if got := len(h.decisions(podinfo)); got != rounds {
		t.Errorf("%d decisions are remembered after %d pairs of clicks", got, rounds)
	}
}
