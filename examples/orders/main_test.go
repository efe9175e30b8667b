package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestOrders(t *testing.T) {
	for name, test := range map[string]struct {
		limit time.Duration
		want  int
	}{
		"the payment provider has time": {time.Minute, 200},
		"and none":                      {time.Nanosecond, 504},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			answer := httptest.NewRecorder()
			orders(registry, test.limit).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/orders/17", nil))
			if answer.Code != test.want {
				t.Errorf("GET /orders/17 is %d %s, want %d", answer.Code, answer.Body, test.want)
			}
			page := fmt.Sprintf("# HELP orders_http_responses_total Responses, by handler and status code.\n# TYPE orders_http_responses_total counter\n"+
				"orders_http_responses_total{code=\"%d\",handler=\"order\"} 1\n", test.want)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(page)); err != nil {
				t.Error(err)
			}
		})
	}
}
