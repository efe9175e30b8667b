package ingress

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// sample is one request as NGINX logs it.
type sample struct {
	labels []string // in the order of requestLabels

	requestLength, requestTime, bytesSent float64 // bytes, seconds, bytes
	connectTime, headerTime, responseTime float64 // of the pod, seconds; negative when there was none, or several
}

// requestLabels are those of ingress-nginx (internal/ingress/metric/collectors/socket.go).
func requestLabels() []string {
	return []string{"status", "method", "path", "namespace", "ingress", "service", "canary", "host"}
}

// logFormat has the values of requestLabels and then the numbers of a sample, between tabs, which none of them contains.
func logFormat() string {
	return strings.Join([]string{
		"$status", "$counted_method", "$ingress_path", "$namespace", "$ingress_name", "$service_name", "$canary", "$host",
		"$request_length", "$request_time", "$bytes_sent",
		"$upstream_connect_time", "$upstream_header_time", "$upstream_response_time",
	}, `\t`)
}

// methods are counted under their own name. ingress-nginx counts every method; then a client could make as many series
// as it likes.
func methods() []string {
	return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
}

func parseSample(line string) (sample, error) {
	fields := strings.Split(line, "\t")
	names := len(requestLabels())
	if len(fields) != names+6 {
		return sample{}, fmt.Errorf("parse line of the access log: want %d fields: %q", names+6, line)
	}
	n := make([]float64, 0, 6)
	for _, text := range fields[names:] {
		n = append(n, seconds(text))
	}
	return sample{
		labels:        fields[:names],
		requestLength: n[0], requestTime: n[1], bytesSent: n[2],
		connectTime: n[3], headerTime: n[4], responseTime: n[5],
	}, nil
}

// seconds is negative for "-" and for a list: like ingress-nginx we do not time a request that took several pods.
func seconds(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	return n
}

// readAccessLog counts every request until the log ends. It holds one line at a time: when it is slow, NGINX waits.
func readAccessLog(from io.Reader, to *metrics, log *slog.Logger) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		s, err := parseSample(lines.Text())
		if err != nil {
			log.Warn("request not counted", "error", err)
			continue
		}
		to.observe(s)
	}
	if err := lines.Err(); err != nil {
		log.Error("access log ended early", "error", err)
		_, _ = io.Copy(io.Discard, from) // so that NGINX never waits for a reader that is gone
	}
}
