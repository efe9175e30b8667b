package ingress

import (
	"testing"
)

func TestParseCanary(t *testing.T) {
	for name, c := range map[string]struct {
		annotations []string
		want        canary
		fails       bool
	}{
		"nothing more is a weight of nothing":  {nil, canary{Total: 100}, false},
		"a weight":                             {[]string{"canary-weight", "25"}, canary{Weight: 25, Total: 100}, false},
		"a weight of more":                     {[]string{"canary-weight", "25", "canary-weight-total", "1000"}, canary{Weight: 25, Total: 1000}, false},
		"a total below 100 is 100":             {[]string{"canary-weight", "25", "canary-weight-total", "50"}, canary{Weight: 25, Total: 100}, false},
		"more than everything is everything":   {[]string{"canary-weight", "101"}, canary{Weight: 100, Total: 100}, false},
		"less than nothing is nothing":         {[]string{"canary-weight", "-1"}, canary{Total: 100}, false},
		"a header":                             {[]string{"canary-by-header", "X-Canary"}, canary{Total: 100, Header: "X-Canary"}, false},
		"a cookie":                             {[]string{"canary-by-cookie", "canary"}, canary{Total: 100, Cookie: "canary"}, false},
		"a header that is none":                {[]string{"canary-by-header", "X Canary;"}, canary{}, true},
		"a cookie that is none":                {[]string{"canary-by-cookie", `a"b`}, canary{}, true},
		"a value with a line break":            {[]string{"canary-by-header", "X", "canary-by-header-value", "a\nb"}, canary{}, true},
		"a pattern that is none":               {[]string{"canary-by-header", "X", "canary-by-header-pattern", "("}, canary{}, true},
		"a pattern that would make a variable": {[]string{"canary-by-header", "X", "canary-by-header-pattern", "(?P<host>a)"}, canary{}, true},
		"a weight that is no number":           {[]string{"canary-weight", "a"}, canary{}, true},
		"a total that is no number":            {[]string{"canary-weight-total", "a"}, canary{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, err := parseCanary(canaryOf("c", c.annotations...).Annotations)
			if (err != nil) != c.fails || !ok {
				t.Fatalf("parse says %v, %v, want failure=%v", ok, err, c.fails)
			}
			if err == nil && got != c.want {
				t.Errorf("rule %+v, want %+v", got, c.want)
			}
		})
	}
	if _, ok, err := parseCanary(map[string]string{prefix + "canary": "perhaps"}); ok || err == nil {
		t.Errorf("canary: perhaps is %v, %v; want an error", ok, err)
	}
}

func TestPercent(t *testing.T) {
	for want, c := range map[string]canary{
		"10.00%": {Weight: 10, Total: 100},
		"0.10%":  {Weight: 1, Total: 1000},
		"33.30%": {Weight: 333, Total: 1000},
		"0.01%":  {Weight: 1, Total: 1_000_000},
	} {
		if got := c.Percent(); got != want {
			t.Errorf("%d of %d is %s, want %s", c.Weight, c.Total, got, want)
		}
	}
}
