package report

import (
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/count"
)

const two = `# Deployment report

<!-- rollout demo-podinfo-abc-1 -->
## promoted

| version | image | revision | requests | good | not good | good % | 95 % |
|---|---|---|---:|---:|---:|---:|---:|
| canary | 2.0.0 | abc | 1200 | 1200 | 0 | 100.00 | 99.00 to 100.00 |
| primary | 1.0.0 | def | 800 | 799 | 1 | 99.87 | 99.00 to 100.00 |

| canary weight | from | for | requests | good | not good | good % |
|---|---|---|---|---|---|---|
| 10 % | 10:00 | 20s | 100 | 100 | 0 | 100.00 |

<!-- rollout demo-podinfo-ghi-2 -->
| canary | 3.0.0 | ghi | 60 | 48 | 12 | 80.00 | 99.00 to 100.00 |
| primary | 2.0.0 | abc | 500 | 500 | 0 | 100.00 | 99.00 to 100.00 |
`

func TestParse(t *testing.T) {
	entries, err := Parse(two)
	if err != nil || len(entries) != 2 {
		t.Fatalf("got %d entries, %v; want 2", len(entries), err)
	}
	first, second := entries[0], entries[1]
	if first.ID != "demo-podinfo-abc-1" || second.ID != "demo-podinfo-ghi-2" {
		t.Errorf("ids are %q and %q", first.ID, second.ID)
	}
	if want := (Version{"1.0.0", "def", 800, count.Counts{Good: 799, Bad: 1}}); first.Versions["primary"] != want {
		t.Errorf("primary is %+v, want %+v", first.Versions["primary"], want)
	}
	if want := (Version{"3.0.0", "ghi", 60, count.Counts{Good: 48, Bad: 12}}); second.Versions["canary"] != want {
		t.Errorf("canary is %+v, want %+v", second.Versions["canary"], want)
	}
	if !strings.HasPrefix(first.Text, "<!-- rollout demo-podinfo-abc-1 -->\n## promoted") || strings.Contains(first.Text, "ghi-2") {
		t.Errorf("the text must be the entry's own: %s", first.Text)
	}
}

func TestParseOddReports(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		entries int
		fail    string
	}{
		"an empty report has no entries":             {text: ""},
		"a report with only a title has none":        {text: "# Deployment report\n"},
		"an entry without rows is still an entry":    {text: "<!-- rollout a -->\n", entries: 1},
		"the same id twice gives two entries":        {text: "<!-- rollout a -->\n<!-- rollout a -->\n", entries: 2},
		"a mark without its end is an error":         {text: "<!-- rollout a\n", fail: "no end of its mark"},
		"a number that is none is an error":          {text: "<!-- rollout a -->\n| canary | 1 | x | many | 1 | 0 | 1 | 99.00 to 100.00 |\n", fail: "row of canary"},
		"two rows of one version are an error":       {text: "<!-- rollout a -->\n| canary | 1 | x | 1 | 1 | 0 | 1 | 99.00 to 100.00 |\n| canary | 1 | x | 1 | 1 | 0 | 1 | 99.00 to 100.00 |\n", fail: "two rows"},
		"a table of another width is not looked at":  {text: "<!-- rollout a -->\n| canary | yes |\n", entries: 1},
		"text with the word canary is not looked at": {text: "<!-- rollout a -->\ncanary | primary\n", entries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			entries, err := Parse(c.text)
			switch {
			case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
				t.Errorf("error is %v, want %q", err, c.fail)
			case c.fail == "" && (err != nil || len(entries) != c.entries):
				t.Errorf("got %d entries, %v; want %d", len(entries), err, c.entries)
			}
		})
	}
}
