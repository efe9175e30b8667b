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
	Tail      []row `json:"binom_tail_p_0.005"`
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

// What verdict.md §4.1 prints and the file of vectors does not hold, and what it prints in more digits.
func TestFormulasGiveThePrintedValues(t *testing.T) {
	up, down := better(), worse()
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"a rung of 1.5, 0 of 500", LogShareBet(1.5, 0, 500, .005), -1.24844009929360},
		{"a rung of 1000, 25 of 500", LogShareBet(1000, 25, 500, .005), 2.30258509299405},
		{"a rung of 50, 0 of 12 at 10 %", LogShareBet(50, 0, 12, .1), -21.2994282109401},
		{"the likelihood of 1000 in a million", logBet(200, 1000, 1e6, .02), -1600131.57367001},
		{"1000 of 1000", logMeanBet(down[:], 1000, 1000, .005), 5114.52690540967},
		{"U of 0 in 100", Upper(0, 100, .05, 1), .0373378091226170},
		{"L of 3 in 20", Lower(3, 20, .025, 1), .0119638640752801},
		{"the mean for a version, 0 of 300", logMeanBet(up[:], 0, 300, Upper(0, 300, .05, 1)), math.Log(20)},
	} {
		same(t, c.what, c.got, c.want)
	}
}

// Tape A is five canary requests a block with errors now and then: with the fifth error, in the block numbered 10, the SLO
// channel crosses and comparing does not.
func TestTapeACrossesWithItsFifthError(t *testing.T) {
	var c Channels
	for i, p := range load(t).Tapes["A"][:11] {
		if c.SLO.LogE() >= math.Log(200) {
			t.Fatalf("crossed before block %d", i)
		}
		c = c.Observe(limits(), Block{
			At: time.Duration(p.Start * float64(time.Second)), Canary: Counts{p.NC, p.EC}, Primary: Counts{p.NP, p.EP},
		})
	}
	same(t, "SLO", c.SLO.LogE(), 6.03534636460381)
	same(t, "compare", c.Compare.LogE(), 5.18538268781843)
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
			p = p.Observe(documented(), 0, hit, 1, 0.005)
		}
		return p.LogE() >= math.Log(200)
	}
	for _, r := range append(load(t).Boundary, row{K: 4, LastN: 48}, row{K: 7, LastN: 206}, row{K: 10, LastN: 433}) {
		if !reached(r.K, r.LastN) || reached(r.K, r.LastN+1) {
			t.Errorf("%v errors must reach 200 : 1 in %v requests and not in one more", r.K, r.LastN)
		}
	}
}

func TestTapesGiveTheReferenceEvidence(t *testing.T) {
	for name, tape := range load(t).Tapes {
		var c Channels
		for i, p := range tape {
			c = c.Observe(limits(), Block{
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

// documented are the stakes of verdict.md §2.2, to which its reference numbers belong: half at the start, the rest every
// half minute for an hour.
func documented() Stakes { return Stakes{First: .5, Every: 30 * time.Second, Count: 120} }
