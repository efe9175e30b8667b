package evidence

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"
	"time"
)

// vectors are reference values from a 50-digit calculation that shares no code with ours.
type vectors struct {
	LogBet    []row `json:"log_bet"`
	LogShare  []row `json:"log_share"`
	Worse     []row `json:"log_e_worse"`
	Better    []row `json:"log_e_better"`
	Upper     []row `json:"upper_beta_0.05"`
	Lower     []row `json:"lower_beta_0.025"`
	Clean     []row `json:"clean_requests"`
	Boundary  []row `json:"boundary_single_request_polls"`
	Posterior []row `json:"posterior_jeffreys"`
	ProbWorse []row `json:"prob_worse"`
	Tapes     map[string][]poll
}

// row holds the arguments and the values of any of the tables.
type row struct {
	D, K, N, Q, Phi, Value float64
	LastN                  float64 `json:"last_n"`
	Mean                   float64
	AboveSLO               float64 `json:"p_above_slo"`
	AboveHard              float64 `json:"p_above_hard"`
	Q025, Q975             float64
	KC, NC, KP, NP         float64
}

// poll is one block of a tape and the evidence after it.
type poll struct {
	Start          float64 // seconds
	NC, EC, NP, EP float64
	SLO            float64 `json:"log_e_slo"`
	Compare        float64 `json:"log_e_cmp"`
	Primary        float64 `json:"log_e_primary"`
}

func load(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.LogShare) == 0 || len(v.Tapes) == 0 {
		t.Fatal("there are no vectors")
	}
	return v
}

// same fails the test unless got is want to 1e-9 relative to max(1, |want|).
func same(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-9*max(1, math.Abs(want))) {
		t.Errorf("%s is %.15g, want %.15g", what, got, want)
	}
}

func TestFormulasGiveTheReferenceValues(t *testing.T) {
	v := load(t)
	up, down := better(), worse()
	for _, r := range v.LogBet {
		same(t, fmt.Sprintf("logBet%+v", r), logBet(r.D, r.K, r.N, r.Q), r.Value)
	}
	for _, r := range v.LogShare {
		same(t, fmt.Sprintf("LogShareBet%+v", r), LogShareBet(r.D, r.K, r.N, r.Q), r.Value)
	}
	for _, r := range v.Worse {
		same(t, fmt.Sprintf("worse%+v", r), logMeanBet(down[:], r.K, r.N, r.Q), r.Value)
	}
	for _, r := range v.Better {
		same(t, fmt.Sprintf("better%+v", r), logMeanBet(up[:], r.K, r.N, r.Q), r.Value)
	}
	for _, r := range v.Upper {
		same(t, fmt.Sprintf("Upper%+v", r), Upper(r.K, r.N, 0.05, r.Phi), r.Value)
	}
	for _, r := range v.Lower {
		same(t, fmt.Sprintf("Lower%+v", r), Lower(r.K, r.N, 0.025, 1), r.Value)
	}
	for _, r := range v.Clean {
		same(t, fmt.Sprintf("CleanRequests%+v", r), CleanRequests(0, 0, r.Q, 0.05, 1), r.N)
	}
}

// The boundary is where k errors in single requests, half staked and without restarts, still reach 200 : 1.
func TestSingleRequestsReachTheLineAtTheReferenceCounts(t *testing.T) {
	reached := func(k, n float64) bool {
		var p Process
		for i := range int(n) {
			hit := 0.0
			if float64(i) >= n-k {
				hit = 1
			}
			p = p.Observe(0, hit, 1, 0.005)
		}
		return p.LogE() >= math.Log(200)
	}
	for _, r := range load(t).Boundary {
		if !reached(r.K, r.LastN) || reached(r.K, r.LastN+1) {
			t.Errorf("%v errors must reach 200 : 1 in %v requests and not in one more", r.K, r.LastN)
		}
	}
}

func TestTapesGiveTheReferenceEvidence(t *testing.T) {
	for name, tape := range load(t).Tapes {
		var c Channels
		for i, p := range tape {
			c = c.Observe(Limits{SLO: 0.005, Ratio: 1, Alpha: 0.005}, Block{
				At:     time.Duration(p.Start * float64(time.Second)),
				Canary: Counts{p.NC, p.EC}, Primary: Counts{p.NP, p.EP},
			})
			at := fmt.Sprintf("tape %s, block %d: ", name, i)
			same(t, at+"SLO", c.SLO.LogE(), p.SLO)
			same(t, at+"compare", c.Compare.LogE(), p.Compare)
			same(t, at+"primary", c.Primary.LogE(), p.Primary)
		}
	}
}

func TestPosteriorsGiveTheReferenceValues(t *testing.T) {
	v := load(t)
	for _, r := range v.Posterior {
		p := NewPosterior(r.K, r.N)
		at := fmt.Sprintf("%v of %v: ", r.K, r.N)
		same(t, at+"mean", p.Mean(), r.Mean)
		same(t, at+"over the SLO", p.Above(.005), r.AboveSLO)
		same(t, at+"over the limit", p.Above(.02), r.AboveHard)
		same(t, at+"2.5 %", p.Quantile(.025), r.Q025)
		same(t, at+"97.5 %", p.Quantile(.975), r.Q975)
	}
	for _, r := range v.ProbWorse {
		same(t, fmt.Sprintf("%v of %v against %v of %v", r.KC, r.NC, r.KP, r.NP), NewPosterior(r.KC, r.NC).Worse(NewPosterior(r.KP, r.NP)), r.Value)
	}
}
