package api

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

func TestOnlyTheTokenOpensTheSwitch(t *testing.T) {
	s := start(t, secret)
	for name, header := range map[string]string{
		"no header":               "",
		"no scheme":               secret,
		"another scheme":          "Basic " + secret,
		"an empty token":          "Bearer ",
		"the beginning of it":     "Bearer " + secret[:len(secret)-1],
		"more than it":            "Bearer " + secret + "x",
		"another of equal length": "Bearer " + strings.Repeat("x", len(secret)),
		"it in capitals":          "Bearer " + strings.ToUpper(secret),
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				got := s.do(method, "/chaos", `{"errorRate":1,"ttl":"1m"}`, "Authorization", header)
				isProblem(t, got, 401, "")
				if got.header.Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("%s: no challenge", method)
				}
			}
		})
	}
	if got := s.do("GET", "/", ""); got.status != 200 {
		t.Errorf("a refused plan is in force: %d", got.status)
	}
	if got := s.admin("GET", ""); got.status != 200 || !strings.HasPrefix(got.body, `{"active":false,`) {
		t.Errorf("with the token: %d %s", got.status, got.body)
	}
}

// Timing cannot be measured in a test that never fails by chance; what can be
// held is that the code compares nothing but what subtle.ConstantTimeCompare says.
func TestTheTokenIsComparedInConstantTime(t *testing.T) {
	tree, err := parser.ParseFile(token.NewFileSet(), "switch.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constant := func(e ast.Expr) bool {
		call, ok := e.(*ast.CallExpr)
		if !ok {
			return false
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		return ok && sel.Sel.Name == "ConstantTimeCompare"
	}
	compared := 0
	for _, decl := range tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || !slices.Contains([]string{"authorize", "sameToken"}, fn.Name.Name) {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			expr, ok := n.(*ast.BinaryExpr)
			if !ok || (expr.Op != token.EQL && expr.Op != token.NEQ) {
				return true
			}
			if !constant(expr.X) {
				t.Errorf("%s compares with %s", fn.Name.Name, expr.Op)
			}
			compared++
			return true
		})
	}
	if compared != 1 {
		t.Errorf("%d comparisons, want the one of subtle.ConstantTimeCompare", compared)
	}
}

func TestABadPlanNamesItsField(t *testing.T) {
	s := start(t, secret)
	for body, field := range map[string]string{
		`{"errorRate":1}`:                              "ttl",
		`{"ttl":"0s"}`:                                 "ttl",
		`{"ttl":"2h"}`:                                 "ttl",
		`{"ttl":600}`:                                  "ttl",
		`{"ttl":"soon"}`:                               "ttl",
		`{"ttl":null}`:                                 "ttl",
		`{"ttl":"1m","errorRate":20}`:                  "errorRate",
		`{"ttl":"1m","errorRate":"0.2"}`:               "errorRate",
		`{"ttl":"1m","status":200}`:                    "status",
		`{"ttl":"1m","status":0}`:                      "status",
		`{"ttl":"1m","status":500.5}`:                  "status",
		`{"ttl":"1m","latency":"31s"}`:                 "latency",
		`{"ttl":"1m","latency":200}`:                   "latency",
		`{"ttl":"1m","routes":["/api/item"]}`:          "routes",
		`{"ttl":"1m","routes":["/readyz"]}`:            "routes",
		`{"ttl":"1m","routes":"/"}`:                    "routes",
		`{"ttl":"1m","seed":-1}`:                       "seed",
		`{"ttl":"1m","errorrate":0.2}`:                 "errorrate",
		`{"ttl":"1m","crash":true}`:                    "crash",
		`{"ttl":"1m"}`:                                 "errorRate",
		`{"ttl":"1m","unready":false}`:                 "errorRate",
		`{"ttl":"1m","ttl":"2m"}`:                      "ttl",
		`{"ttl":"1m","abortRate":2}`:                   "abortRate",
		`{"ttl":"1m","hangRate":"1"}`:                  "hangRate",
		`{"ttl":"1m","jitter":"1s"}`:                   "jitter",
		`{"ttl":"1m","unready":1}`:                     "unready",
		`{"ttl":"1m","unready":null}`:                  "unready",
		`{"ttl":"1m","crashAfter":"1ms"}`:              "crashAfter",
		`{"ttl":"1m","crashAfter":"1m"}`:               "crashAfter",
		`{"ttl":"1m","memory":"1Gi"}`:                  "memory",
		`{"ttl":"1m","memory":"64MB"}`:                 "memory",
		`{"ttl":"1m","memory":"-1Mi"}`:                 "memory",
		`{"ttl":"1m","memory":536870913}`:              "memory",
		`{"ttl":"1m","memory":1e99}`:                   "memory",
		`{"ttl":"1m","cpu":5}`:                         "cpu",
		`{"ttl":"1m","cpu":0.5}`:                       "cpu",
		`{"ttl":"1m","scope":"all"}`:                   "scope",
		`{"ttl":"1m","scope":""}`:                      "scope",
		`{"errorRate":1,"ttl":"1m","scope":"version"}`: "scope",
		`{"ttl":"1m","revision":"a"}`:                  "revision",
		`{}`:                                           "ttl",
		`[]`:                                           "",
		`{"ttl":"1m"} {"ttl":"1m"}`:                    "",
		`errorRate=1`:                                  "",
	} {
		t.Run(body, func(t *testing.T) {
			isProblem(t, s.admin("PUT", body), 400, field)
			if got := s.do("GET", "/", ""); got.status != 200 {
				t.Errorf("a refused plan is in force: %d", got.status)
			}
			if err := s.StartChaos([]byte(body)); err == nil {
				t.Error("the same plan is taken at start")
			}
		})
	}
}

func TestAPlanEndsByItselfAndOnDemand(t *testing.T) {
	s := start(t, secret)
	status := func() int { return s.do("GET", "/api/items", "").status }

	s.admin("PUT", `{"errorRate":1,"ttl":"10m"}`)
	isProblem(t, s.do("GET", "/api/items", ""), 500, "")
	s.clock.advance(10*time.Minute - 1)
	if got := status(); got != 500 {
		t.Errorf("just before its end: %d", got)
	}
	s.clock.advance(1)
	if got := status(); got != 200 {
		t.Errorf("at its end: %d", got)
	}
	if got := s.admin("GET", ""); !strings.HasPrefix(got.body, `{"active":false,`) {
		t.Errorf("an ended plan is shown: %s", got.body)
	}

	s.admin("PUT", `{"errorRate":1,"status":503,"ttl":"10m"}`)
	if got := status(); got != 503 {
		t.Errorf("a new plan starts its life afresh: %d", got)
	}
	for range 2 { // clearing is idempotent
		if got := s.admin("DELETE", ""); got.status != 200 || status() != 200 {
			t.Errorf("after clearing: %d, then %d", got.status, status())
		}
	}
	if got := strings.Count(s.log.String(), `"chaos plan`); got != 4 {
		t.Errorf("%d audit lines for 4 changes:\n%s", got, s.log)
	}
	if strings.Contains(s.log.String(), secret) {
		t.Error("the token is in the log")
	}
}

func TestTheStartUpPlanIsInForceFromTheStart(t *testing.T) {
	s := start(t, secret)
	if err := s.StartChaos([]byte(`{"errorRate":1,"ttl":"1m","routes":["/api/items"]}`)); err != nil {
		t.Fatal(err)
	}
	if got := s.do("GET", "/api/items", ""); got.status != 500 {
		t.Errorf("named route: %d", got.status)
	}
	if got := s.do("GET", "/", ""); got.status != 200 {
		t.Errorf("other route: %d", got.status)
	}
	s.clock.advance(time.Minute)
	if got := s.do("GET", "/api/items", ""); got.status != 200 {
		t.Errorf("after its life: %d", got.status)
	}
	if err := start(t, "").StartChaos([]byte(`{"errorRate":1,"ttl":"1m"}`)); err == nil {
		t.Error("a plan is taken though chaos is off")
	}
}

func TestChaosNeverTouchesProbesMetricsOrItsSwitch(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"errorRate":1,"ttl":"1h"}`)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if got := s.do("GET", path, ""); got.status != 200 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	isProblem(t, s.do("GET", "/nope", ""), 404, "")
	if got := s.admin("GET", ""); got.status != 200 {
		t.Errorf("/chaos: %d", got.status)
	}
}

func TestASeededPlanRepeatsItself(t *testing.T) {
	s := start(t, secret)
	// A run asks other routes in between: only touched requests take a draw.
	run := func(plan string, between int) (outcome string) {
		if got := s.admin("PUT", plan); got.status != 200 {
			t.Fatalf("set plan: %s", got.body)
		}
		for range 40 {
			for range between {
				s.do("GET", "/", "")
			}
			outcome += map[int]string{200: ".", 500: "x"}[s.do("GET", "/api/items", "").status]
		}
		return outcome
	}
	const seeded = `{"errorRate":0.5,"ttl":"1m","routes":["/api/items"],"seed":7}`
	first := run(seeded, 0)
	if !strings.Contains(first, ".") || !strings.Contains(first, "x") || len(first) != 40 {
		t.Errorf("half of the requests should fail: %s", first)
	}
	if again := run(seeded, 1); again != first {
		t.Errorf("the same seed gave\n%s and\n%s", first, again)
	}
	if other := run(strings.Replace(seeded, "7", "8", 1), 0); other == first {
		t.Errorf("another seed gave the same draws %s", first)
	}

	// Without a seed one is chosen, shown, and repeats the run when given back.
	free := run(`{"errorRate":0.5,"ttl":"1m","routes":["/api/items"]}`, 0)
	var shown struct {
		Plan json.RawMessage `json:"plan"`
	}
	if err := json.Unmarshal([]byte(s.admin("GET", "").body), &shown); err != nil {
		t.Fatal(err)
	}
	if again := run(string(shown.Plan), 0); again != free {
		t.Errorf("the shown plan %s gave\n%s, not\n%s", shown.Plan, again, free)
	}
}

func TestLatencyDelaysTheAnswer(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"latency":"50ms","ttl":"1m"}`)
	began := time.Now()
	if got := s.do("GET", "/", ""); got.status != 200 || time.Since(began) < 50*time.Millisecond {
		t.Errorf("got %d after %s", got.status, time.Since(began))
	}
}

func TestAClientThatLeavesIsCountedAsNginxDoes(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"latency":"30s","ttl":"1m"}`)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			defer res.Body.Close()
		}
		left <- err
	}()
	eventually(t, "the request is in flight", func() bool {
		return s.scrape()["http_requests_in_flight"].GetMetric()[0].GetGauge().GetValue() == 1
	})
	leave()
	if err := <-left; err == nil {
		t.Error("the client got an answer")
	}
	eventually(t, "it is counted as 499", func() bool {
		return series(s.scrape()["http_requests_errors_total"])["GET / 499"] == 1
	})
}

// eventually asks again until cond holds; ten seconds of no are a failure.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestTheRatesAreTheSharesThatFail(t *testing.T) {
	for seed := range uint64(50) {
		f := newFaults(Config{Now: time.Now}, func(chaos.Kind) {})
		f.set(chaos.Plan{ErrorRate: 0.2, AbortRate: 0.2, HangRate: 0.2, Status: 500, TTL: time.Hour, Seed: seed + 1})
		ends := map[chaos.Kind]int{}
		for range 10_000 {
			fault, _ := f.next("/")
			ends[fault.End]++
		}
		for _, kind := range []chaos.Kind{chaos.Error, chaos.Abort, chaos.Hang} {
			if n := ends[kind]; n < 1_800 || n > 2_200 { // five standard deviations
				t.Errorf("seed %d: %d of 10000 requests end as %s at rate 0.2", seed+1, n, kind)
			}
		}
		f.clear()
	}
}
