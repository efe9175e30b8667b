package chaos

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestPick(t *testing.T) {
	plan := Plan{ErrorRate: 0.2, Status: 503, Latency: time.Second, TTL: time.Minute, Routes: []string{"/api/items"}}
	with := func(change func(*Plan)) Plan { p := plan; change(&p); return p }
	rate := func(r float64) Plan { return with(func(p *Plan) { p.ErrorRate = r }) }
	everywhere := with(func(p *Plan) { p.Routes = nil })
	three := with(func(p *Plan) { p.ErrorRate, p.AbortRate, p.HangRate = 0.25, 0.5, 0.25 })
	shaky := with(func(p *Plan) { p.Jitter = 400 * time.Millisecond })
	slow, broken := Fault{Delay: time.Second}, Fault{Delay: time.Second, End: Error, Status: 503}
	cut, stuck := Fault{Delay: time.Second, End: Abort}, Fault{Delay: time.Second, End: Hang}
	const middle = 0.5 // the draw of jitter that changes nothing
	highest := math.Nextafter(1, 0)

	for name, c := range map[string]struct {
		plan    Plan
		route   string
		draw    float64
		jitter  float64
		elapsed time.Duration
		want    Fault
	}{
		"a draw below the rate fails":                        {plan, "/api/items", 0.19, middle, 0, broken},
		"a draw at the rate does not fail":                   {plan, "/api/items", 0.2, middle, 0, slow},
		"a draw above the rate does not fail":                {plan, "/api/items", 0.9, middle, 0, slow},
		"rate 0 never fails, not even at the lowest draw":    {rate(0), "/api/items", 0, middle, 0, slow},
		"rate 1 always fails, even at the highest draw":      {rate(1), "/api/items", highest, middle, 0, broken},
		"errors have the lowest draws":                       {three, "/api/items", 0.24, middle, 0, broken},
		"aborts have the draws after errors":                 {three, "/api/items", 0.25, middle, 0, cut},
		"aborts have as many as their rate":                  {three, "/api/items", 0.74, middle, 0, cut},
		"hangs have the draws after aborts":                  {three, "/api/items", 0.75, middle, 0, stuck},
		"rates that make 1 leave no request alone":           {three, "/api/items", highest, middle, 0, stuck},
		"the lowest draw of jitter takes it all away":        {shaky, "/api/items", 0.9, 0, 0, Fault{Delay: 600 * time.Millisecond, Jitter: -400 * time.Millisecond}},
		"a higher draw of jitter adds":                       {shaky, "/api/items", 0.9, 0.75, 0, Fault{Delay: 1200 * time.Millisecond, Jitter: 200 * time.Millisecond}},
		"jitter does not change which requests fail":         {shaky, "/api/items", 0.19, middle, 0, broken},
		"a route that is not named is left alone":            {plan, "/", 0, middle, 0, Fault{}},
		"a template is matched whole, not by prefix":         {plan, "/api/items/:id", 0, middle, 0, Fault{}},
		"no routes means all routes":                         {everywhere, "/", 0, middle, 0, broken},
		"a plan works until just before the end of its life": {plan, "/api/items", 0, middle, time.Minute - 1, broken},
		"a plan is over when its life is":                    {plan, "/api/items", 0, middle, time.Minute, Fault{}},
		"a plan stays over":                                  {plan, "/api/items", 0, middle, time.Hour, Fault{}},
		"the zero plan does nothing":                         {Plan{}, "/api/items", 0, middle, 0, Fault{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.plan.Pick(c.route, c.draw, c.jitter, c.elapsed); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAskedIsWhatThePlanSaysOfEachKind(t *testing.T) {
	plan := Plan{
		ErrorRate: 0.1, AbortRate: 0.2, HangRate: 0.3, Latency: time.Second, Jitter: 500 * time.Millisecond,
		Unready: true, CrashAfter: time.Minute, Memory: 64 << 20, CPU: 2,
	}
	want := map[Kind]float64{
		Error: 0.1, Abort: 0.2, Hang: 0.3, Latency: 1, Jitter: 0.5, Unready: 1, Crash: 60, Memory: 67108864, CPU: 2,
	}
	if len(Kinds()) != len(want) {
		t.Errorf("there are %d kinds, want %d", len(Kinds()), len(want))
	}
	for _, kind := range Kinds() {
		if got := plan.Asked(kind); got != want[kind] {
			t.Errorf("%s: got %v, want %v", kind, got, want[kind])
		}
		if got := (Plan{}).Asked(kind); got != 0 {
			t.Errorf("%s: the zero plan asks for %v", kind, got)
		}
	}
}

func TestValidate(t *testing.T) {
	with := func(change func(*Plan)) Plan {
		p := Plan{ErrorRate: 0.5, Status: 500, Latency: time.Second, TTL: time.Minute, Routes: []string{"/"}, Scope: ScopePod}
		change(&p)
		return p
	}
	version := func(revision string) Plan {
		return with(func(p *Plan) { p.Scope, p.Revision = ScopeVersion, revision })
	}
	rates := func(e, a, h float64) Plan {
		return with(func(p *Plan) { p.ErrorRate, p.AbortRate, p.HangRate = e, a, h })
	}
	times := func(latency, jitter time.Duration) Plan {
		return with(func(p *Plan) { p.Latency, p.Jitter = latency, jitter })
	}
	process := func(change func(*Plan)) Plan {
		return with(func(p *Plan) { p.ErrorRate, p.Latency, p.Unready = 0, 0, true; change(p) })
	}
	for name, c := range map[string]struct {
		plan  Plan
		field string // "" means valid
	}{
		"a plan within all limits is valid":                {with(func(*Plan) {}), ""},
		"rate 0 is valid":                                  {rates(0, 0, 0), ""},
		"rate 1 is valid":                                  {rates(1, 0, 0), ""},
		"a rate in percent is refused":                     {rates(20, 0, 0), "errorRate"},
		"a negative rate is refused":                       {rates(-0.1, 0, 0), "errorRate"},
		"a rate that is no number is refused":              {rates(math.NaN(), 0, 0), "errorRate"},
		"a negative rate of aborts is refused":             {rates(0, -0.1, 0), "abortRate"},
		"a rate of hangs over 1 is refused":                {rates(0, 0, 1.1), "hangRate"},
		"rates that make 1 are valid":                      {rates(0.7, 0.2, 0.1), ""},
		"errors and aborts over 1 are refused":             {rates(0.6, 0.5, 0), "abortRate"},
		"all three over 1 are refused":                     {rates(0.5, 0.3, 0.3), "hangRate"},
		"400 is the least status":                          {with(func(p *Plan) { p.Status = 400 }), ""},
		"a good status is no fault":                        {with(func(p *Plan) { p.Status = 399 }), "status"},
		"599 is the greatest status":                       {with(func(p *Plan) { p.Status = 599 }), ""},
		"600 is no status":                                 {with(func(p *Plan) { p.Status = 600 }), "status"},
		"30s is the greatest latency":                      {times(MaxLatency, 0), ""},
		"a greater latency is refused":                     {times(MaxLatency+1, 0), "latency"},
		"a negative latency is refused":                    {times(-1, 0), "latency"},
		"jitter may be as much as latency":                 {times(time.Second, time.Second), ""},
		"more jitter than latency is refused":              {times(time.Second, time.Second+1), "jitter"},
		"a negative jitter is refused":                     {times(time.Second, -1), "jitter"},
		"latency with jitter has the same limit":           {times(MaxLatency, 1), "jitter"},
		"a plan without a time to live is refused":         {with(func(p *Plan) { p.TTL = 0 }), "ttl"},
		"a negative time to live is refused":               {with(func(p *Plan) { p.TTL = -1 }), "ttl"},
		"1h is the longest life":                           {with(func(p *Plan) { p.TTL = MaxTTL }), ""},
		"a longer life is refused":                         {with(func(p *Plan) { p.TTL = MaxTTL + 1 }), "ttl"},
		"100ms is the earliest crash":                      {with(func(p *Plan) { p.CrashAfter = MinCrashAfter }), ""},
		"an earlier crash is refused":                      {with(func(p *Plan) { p.CrashAfter = MinCrashAfter - 1 }), "crashAfter"},
		"a crash in the past is refused":                   {with(func(p *Plan) { p.CrashAfter = -1 }), "crashAfter"},
		"a crash at the end of the plan is refused":        {with(func(p *Plan) { p.CrashAfter = p.TTL }), "crashAfter"},
		"512Mi is the most memory":                         {with(func(p *Plan) { p.Memory = MaxMemory }), ""},
		"more memory is refused":                           {with(func(p *Plan) { p.Memory = MaxMemory + 1 }), "memory"},
		"negative memory is refused":                       {with(func(p *Plan) { p.Memory = -1 }), "memory"},
		"4 is the most cores":                              {with(func(p *Plan) { p.CPU = 4 }), ""},
		"more cores are refused":                           {with(func(p *Plan) { p.CPU = 5 }), "cpu"},
		"a negative number of cores is refused":            {with(func(p *Plan) { p.CPU = -1 }), "cpu"},
		"a route that does not exist is refused":           {with(func(p *Plan) { p.Routes = []string{"/", "/healthz"} }), "routes"},
		"a route named twice is refused":                   {with(func(p *Plan) { p.Routes = []string{"/", "/"} }), "routes"},
		"routes beside faults of requests too are valid":   {with(func(p *Plan) { p.Memory = 1 }), ""},
		"routes for an unready service alone are refused":  {process(func(*Plan) {}), "routes"},
		"an unready service without routes is valid":       {process(func(p *Plan) { p.Routes = nil }), ""},
		"a scope that is neither pod nor version is wrong": {with(func(p *Plan) { p.Scope = "cluster" }), "scope"},
		"scope version is valid":                           {version(""), ""},
		"scope version with a revision is valid":           {version("7d4b9c6f5"), ""},
		"a revision with scope pod is refused":             {with(func(p *Plan) { p.Revision = "a" }), "revision"},
		"a revision that fits no header is refused":        {version("a\r\nb"), "revision"},
		"a revision longer than a label is refused":        {version(strings.Repeat("a", 64)), "revision"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.plan.Validate([]string{"/", "/api/items"})
			if c.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != c.field {
				t.Errorf("got %v, want an error about %s", err, c.field)
			}
		})
	}
}
