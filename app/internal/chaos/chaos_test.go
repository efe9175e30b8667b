package chaos

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestPick(t *testing.T) {
	plan := Plan{ErrorRate: 0.2, Status: 503, Latency: time.Second, TTL: time.Minute, Routes: []string{"/api/items"}}
	rate := func(r float64) Plan { p := plan; p.ErrorRate = r; return p }
	everywhere := plan
	everywhere.Routes = nil
	slow, broken := Fault{Delay: time.Second}, Fault{Delay: time.Second, Status: 503}

	for name, c := range map[string]struct {
		plan    Plan
		route   string
		draw    float64
		elapsed time.Duration
		want    Fault
	}{
		"a draw below the rate fails":                        {plan, "/api/items", 0.19, 0, broken},
		"a draw at the rate does not fail":                   {plan, "/api/items", 0.2, 0, slow},
		"a draw above the rate does not fail":                {plan, "/api/items", 0.9, 0, slow},
		"rate 0 never fails, not even at the lowest draw":    {rate(0), "/api/items", 0, 0, slow},
		"rate 1 always fails, even at the highest draw":      {rate(1), "/api/items", math.Nextafter(1, 0), 0, broken},
		"a route that is not named is left alone":            {plan, "/", 0, 0, Fault{}},
		"a template is matched whole, not by prefix":         {plan, "/api/items/:id", 0, 0, Fault{}},
		"no routes means all routes":                         {everywhere, "/", 0, 0, broken},
		"a plan works until just before the end of its life": {plan, "/api/items", 0, time.Minute - 1, broken},
		"a plan is over when its life is":                    {plan, "/api/items", 0, time.Minute, Fault{}},
		"a plan stays over":                                  {plan, "/api/items", 0, time.Hour, Fault{}},
		"the zero plan does nothing":                         {Plan{}, "/api/items", 0, 0, Fault{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.plan.Pick(c.route, c.draw, c.elapsed); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	with := func(change func(*Plan)) Plan {
		p := Plan{ErrorRate: 0.5, Status: 500, Latency: time.Second, TTL: time.Minute, Routes: []string{"/"}}
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		plan  Plan
		field string // "" means valid
	}{
		"a plan within all limits is valid":        {with(func(*Plan) {}), ""},
		"rate 0 is valid":                          {with(func(p *Plan) { p.ErrorRate = 0 }), ""},
		"rate 1 is valid":                          {with(func(p *Plan) { p.ErrorRate = 1 }), ""},
		"a rate in percent is refused":             {with(func(p *Plan) { p.ErrorRate = 20 }), "errorRate"},
		"a negative rate is refused":               {with(func(p *Plan) { p.ErrorRate = -0.1 }), "errorRate"},
		"a rate that is no number is refused":      {with(func(p *Plan) { p.ErrorRate = math.NaN() }), "errorRate"},
		"400 is the least status":                  {with(func(p *Plan) { p.Status = 400 }), ""},
		"a good status is no fault":                {with(func(p *Plan) { p.Status = 399 }), "status"},
		"599 is the greatest status":               {with(func(p *Plan) { p.Status = 599 }), ""},
		"600 is no status":                         {with(func(p *Plan) { p.Status = 600 }), "status"},
		"30s is the greatest latency":              {with(func(p *Plan) { p.Latency = MaxLatency }), ""},
		"a greater latency is refused":             {with(func(p *Plan) { p.Latency = MaxLatency + 1 }), "latency"},
		"a negative latency is refused":            {with(func(p *Plan) { p.Latency = -1 }), "latency"},
		"a plan without a time to live is refused": {with(func(p *Plan) { p.TTL = 0 }), "ttl"},
		"a negative time to live is refused":       {with(func(p *Plan) { p.TTL = -1 }), "ttl"},
		"1h is the longest life":                   {with(func(p *Plan) { p.TTL = MaxTTL }), ""},
		"a longer life is refused":                 {with(func(p *Plan) { p.TTL = MaxTTL + 1 }), "ttl"},
		"a route that does not exist is refused":   {with(func(p *Plan) { p.Routes = []string{"/", "/healthz"} }), "routes"},
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
