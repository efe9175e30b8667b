package count

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// startMetric is when the process began (OpenMetrics, and every client library of Prometheus).
const startMetric = "process_start_time_seconds"

// ErrNoRequestsMetric is returned for a page that does not have the counter of responses at all: the pod is not
// instrumented, or has answered nothing yet.
var ErrNoRequestsMetric = errors.New("the counter of responses is not on the metrics page")

// Parse reads a metrics page in Prometheus' text format. A counter that is negative, infinite or not a number is an error:
// it says that the page is wrong, not how many responses there were. With ErrNoRequestsMetric comes when the process started.
func Parse(page io.Reader, sli rollout.SLI) (rollout.Reading, error) {
	needed, err := only(page, sli.Requests, sli.Duration, startMetric)
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("read metrics page: %w", err)
	}
	return parse(needed, sli)
}

// parse reads the lines that are needed.
func parse(needed []byte, sli rollout.SLI) (rollout.Reading, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(needed))
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("read metrics page: %w", err)
	}
	var got rollout.Reading
	if start := families[startMetric].GetMetric(); len(start) == 1 {
		got.Start = value(start[0])
	}
	requests, ok := families[sli.Requests]
	if !ok && bytes.Contains(needed, []byte("# TYPE "+sli.Requests+" ")) {
		return got, nil // as clients in Python and Java name a counter that has no series yet
	}
	if !ok {
		return got, fmt.Errorf("%s: %w", sli.Requests, ErrNoRequestsMetric)
	}
	for _, m := range requests.GetMetric() {
		if !matches(m, sli.Match) {
			continue
		}
		n, err := whole(value(m))
		if err != nil {
			return rollout.Reading{}, fmt.Errorf("%s: %w", sli.Requests, err)
		}
		if sli.IsGood(label(m, sli.Status)) {
			got.Counts.Good += n
		} else {
			got.Counts.Bad += n
		}
	}
	if sli.Duration != "" {
		got.Times = times(families[sli.Duration], sli.Match)
	}
	return got, nil
}

// only copies the lines about these metrics. Parsing is most of what the gatekeeper does, and most of a page is about
// something else.
func only(page io.Reader, names ...string) ([]byte, error) {
	needed := &bytes.Buffer{}
	lines := bufio.NewScanner(page)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if line := lines.Bytes(); isAbout(bytes.TrimPrefix(line, []byte("# TYPE ")), names...) {
			write(needed, line)
		}
	}
	return needed.Bytes(), lines.Err()
}

// isAbout reports whether a line, or what follows its "# TYPE ", is about one of these metrics, "" being none. A longer name
// with the same begin is let through too: it may be a histogram's _bucket, and the parser knows.
func isAbout(line []byte, names ...string) bool {
	for _, name := range names {
		if name != "" && len(line) > len(name) && string(line[:len(name)]) == name {
			return true
		}
	}
	return false
}

// maxLine bounds one line of a page; a real one has some hundred bytes.
const maxLine = 1 << 20

// whole is a counter's value as a number of responses.
func whole(v float64) (uint64, error) {
	// Beyond 2^53 a float64 can not count ones.
	if !(v >= 0 && v < 1<<53) {
		return 0, fmt.Errorf("%v is not a number of responses", v)
	}
	return uint64(v), nil
}

// times adds up all series of a histogram; empty when there is none, or when its series have different buckets.
func times(family *dto.MetricFamily, match map[string]string) rollout.Times {
	var sum rollout.Times
	for _, m := range family.GetMetric() {
		h := m.GetHistogram()
		if h == nil || !matches(m, match) {
			continue
		}
		var one rollout.Times
		for _, b := range h.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				one.Bounds, one.Counts = append(one.Bounds, b.GetUpperBound()), append(one.Counts, b.GetCumulativeCount())
			}
		}
		one.Counts = append(one.Counts, h.GetSampleCount())
		if !slices.IsSorted(one.Bounds) || !slices.IsSorted(one.Counts) {
			return rollout.Times{}
		}
		if sum = sum.Add(one); len(sum.Counts) == 0 {
			return rollout.Times{}
		}
	}
	return sum
}

func matches(m *dto.Metric, match map[string]string) bool {
	for name, want := range match {
		if label(m, name) != want {
			return false
		}
	}
	return true
}

// value reads a counter, a gauge or an untyped sample: a page without TYPE lines is legal.
func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
