package count

import (
	"strings"
	"testing"
)

const head = "# HELP http_requests_total Responses.\n# TYPE http_requests_total counter\n"

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Counts
		fail string
	}{
		"2xx of all routes are good, everything else is bad": {
			text: head + `http_requests_total{method="GET",route="/",status="200"} 7
http_requests_total{method="POST",route="/api/items",status="201"} 2
http_requests_total{method="GET",route="/api/items",status="500"} 3
http_requests_total{method="GET",route="/api/items/:id",status="404"} 1
`,
			want: Counts{Good: 9, Bad: 4},
		},
		"series at zero count nothing": {
			text: head + `http_requests_total{method="GET",route="/",status="200"} 0
http_requests_total{method="GET",route="/",status="500"} 0
`,
		},
		"other metrics are left alone": {
			text: head + "http_requests_total{status=\"200\"} 1\n# TYPE http_requests_errors_total counter\nhttp_requests_errors_total{status=\"500\"} 5\n",
			want: Counts{Good: 1},
		},
		"a label of another length is no 2xx":         {text: head + "http_requests_total{status=\"2\"} 1\n", want: Counts{Bad: 1}},
		"a missing counter is an error, not a zero":   {text: "# TYPE up gauge\nup 1\n", fail: "there is no http_requests_total"},
		"an empty answer is an error, not a zero":     {text: "", fail: "there is no http_requests_total"},
		"an answer that is cut short is an error too": {text: head + `http_requests_total{status="2`, fail: "parse metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(c.text))
			switch {
			case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
				t.Errorf("error is %v, want %q", err, c.fail)
			case c.fail == "" && err != nil:
				t.Error(err)
			case got != c.want:
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestPods(t *testing.T) {
	var p Pods
	if p.Sum() != (Counts{}) || p.Len() != 0 {
		t.Error("the zero value must be empty")
	}
	p.Put("a/0", Counts{Good: 5})
	p.Put("b/0", Counts{Good: 1, Bad: 1})
	p.Put("a/0", Counts{Good: 6}) // read again: replaces
	p.Put("a/0", Counts{Good: 1}) // restarted, but not known as such yet: the process that ended keeps what it had
	p.Put("a/1", Counts{Bad: 2})  // restarted: adds
	if got, want := p.Sum(), (Counts{Good: 7, Bad: 3}); got != want {
		t.Errorf("sum is %+v, want %+v", got, want)
	}
	if p.Len() != 3 {
		t.Errorf("saw %d processes, want 3", p.Len())
	}
}

func TestErrorRate(t *testing.T) {
	if got := (Counts{}).ErrorRate(); got != 0 {
		t.Errorf("nothing answered is %v %%, want 0", got)
	}
	if got := (Counts{Good: 3, Bad: 1}).ErrorRate(); got != 25 {
		t.Errorf("one of four is %v %%, want 25", got)
	}
}
