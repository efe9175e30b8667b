package count

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// errNoEnd is returned for a page that was cut off: counts that it lacks would read as requests that never were.
var errNoEnd = errors.New("the page does not end with # EOF, it is cut off")

const (
	// maxFound bounds the failing requests that one page names: each bucket of each series may name one.
	maxFound = 100
	// maxWord bounds a route, in bytes: it goes into a record that is kept for ever.
	maxWord = 120
)

// ParseOpen reads a metrics page in OpenMetrics (prometheus.io/docs/specs/om/open_metrics_spec/), as Parse reads one in text,
// and the failing requests that the exemplars of sli.Traces name.
func ParseOpen(page io.Reader, sli rollout.SLI) (rollout.Reading, error) {
	needed, failing, err := plain(page, sli)
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("read metrics page: %w", err)
	}
	got, err := parse(needed, sli)
	if errors.Is(err, ErrNoRequestsMetric) {
		// Counters have this suffix here, also where they have none in the text format.
		sli.Requests += "_total"
		if again, errAgain := parse(needed, sli); !errors.Is(errAgain, ErrNoRequestsMetric) {
			got, err = again, errAgain
		}
	}
	got.Failing = failing
	return got, err
}

// plain makes a page in the text format of what is needed, for the same parser: samples lose their times and exemplars.
func plain(page io.Reader, sli rollout.SLI) (needed []byte, failing []rollout.Failing, err error) {
	kept, ended := &bytes.Buffer{}, false
	lines := bufio.NewScanner(page)
	lines.Buffer(nil, maxLine)
	bucket := []byte(sli.Traces + "_bucket{")
	for !ended && lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(line) == 0:
		case line[0] == '#':
			ended = string(line) == "# EOF"
			if about, ok := bytes.CutPrefix(line, []byte("# TYPE ")); ok && bytes.HasSuffix(line, []byte(" histogram")) && isAbout(about, sli.Duration) {
				write(kept, line) // of other types the parser needs no word
			}
		case isAbout(line, sli.Requests, sli.Duration, startMetric):
			series, value, exemplar, err := sample(line)
			if err != nil {
				return nil, nil, err
			}
			write(kept, series, []byte{' '}, value)
			failing = found(failing, bucket, series, exemplar, sli)
		case sli.Traces != "" && bytes.HasPrefix(line, bucket):
			series, _, exemplar, err := sample(line)
			if err != nil {
				return nil, nil, err
			}
			failing = found(failing, bucket, series, exemplar, sli)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, err
	}
	if !ended {
		return nil, nil, errNoEnd
	}
	return kept.Bytes(), failing, nil
}

func write(to *bytes.Buffer, parts ...[]byte) {
	for _, p := range parts {
		to.Write(p)
	}
	to.WriteByte('\n')
}

// sample takes a line apart: name and labels, value, and the exemplar from its "{" on, nil without one.
func sample(line []byte) (series, value, exemplar []byte, err error) {
	rest := line
	if open := bytes.IndexAny(line, "{ "); open >= 0 && line[open] == '{' {
		var ok bool
		if rest, ok = walk(line[open:], nil); !ok {
			return nil, nil, nil, fmt.Errorf("%.80q has labels without an end", line)
		}
	} else if open >= 0 {
		rest = line[open:]
	}
	series = line[:len(line)-len(rest)]
	number, mark, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" # "))
	value, _, _ = bytes.Cut(number, []byte{' '}) // behind it is its time
	if len(value) == 0 {
		return nil, nil, nil, fmt.Errorf("%.80q has no value", line)
	}
	return series, value, mark, nil
}

// walk calls visit, if there is one, with each label of a set that text begins with, its value as written, and gives what is
// behind it. ok is false for what is no set of labels.
func walk(text []byte, visit func(name, value []byte)) (rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '{' {
		return nil, false
	}
	for rest = text[1:]; ; {
		rest = bytes.TrimLeft(rest, ", ")
		if len(rest) > 0 && rest[0] == '}' {
			return rest[1:], true
		}
		name, value, found := bytes.Cut(rest, []byte(`="`))
		if !found {
			return nil, false
		}
		end := closing(value)
		if end < 0 {
			return nil, false
		}
		if visit != nil {
			visit(name, value[:end])
		}
		rest = value[end+1:]
	}
}

// text is a label's value.
func text(value []byte) string {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value)
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(string(value))
}

// labelOf is the value of one label of a set, "" without it.
func labelOf(set []byte, name string) (found string) {
	walk(set, func(n, value []byte) {
		if string(n) == name {
			found = text(value)
		}
	})
	return found
}

// closing is where the quote that ends a value is, -1 when none does.
func closing(value []byte) int {
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// found adds the request that the exemplar of a bucket names, if it is one of those that count, and failed.
func found(failing []rollout.Failing, bucket, series, exemplar []byte, sli rollout.SLI) []rollout.Failing {
	if len(exemplar) == 0 || len(failing) == maxFound || !bytes.HasPrefix(series, bucket) {
		return failing
	}
	labels := series[len(bucket)-1:]
	status := labelOf(labels, sli.Status)
	if status == "" || sli.IsGood(status) {
		return failing
	}
	for name, want := range sli.Match {
		if labelOf(labels, name) != want {
			return failing
		}
	}
	f := rollout.Failing{Trace: labelOf(exemplar, "trace_id"), Status: short(status)}
	rest, ok := walk(exemplar, nil)
	if !ok || !isTrace(f.Trace) {
		return failing
	}
	for _, name := range []string{"route", "http_route", "handler", "path", "uri"} { // as client libraries call it
		if f.Route == "" {
			f.Route = short(labelOf(labels, name))
		}
	}
	numbers := bytes.Fields(rest)
	if len(numbers) > 0 {
		if took := number(numbers[0]); took <= longest {
			f.Seconds = took
		}
	}
	if len(numbers) > 1 {
		if at := number(numbers[1]); at > 0 && at < lastSecond {
			f.At = time.UnixMilli(int64(1000 * at)).UTC()
		}
	}
	return append(failing, f)
}

// lastSecond is the last that is taken for a time, in the year 2100: JSON has no year of five digits.
const lastSecond = 4102444800

// longest is what is taken for a request's duration, in seconds: more is no duration, or not in seconds.
const longest = 3600

// isTrace reports whether s is a trace id as W3C has it: 32 lower-case hexadecimal digits, not all 0.
func isTrace(s string) bool {
	id, err := hex.DecodeString(s)
	return err == nil && len(id) == 16 && strings.ToLower(s) == s && !bytes.Equal(id, make([]byte, len(id)))
}

// number is a finite value, 0 for all else.
func number(text []byte) float64 {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0
	}
	return v
}

func short(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxWord {
		s = strings.ToValidUTF8(s[:maxWord], "") + "…"
	}
	return s
}

// isText reports whether an answer's Content-Type is Prometheus' text format, and not any text: it comes with a version
// (prometheus.io/docs/instrumenting/exposition_formats).
func isText(contentType string) bool {
	kind, options, _ := mime.ParseMediaType(contentType)
	return kind == "text/plain" && options["version"] != ""
}

// isOpen reports whether an answer's Content-Type is OpenMetrics.
func isOpen(contentType string) bool {
	kind, _, _ := mime.ParseMediaType(contentType) // of any version; what can not be read is not it
	return kind == "application/openmetrics-text"
}
