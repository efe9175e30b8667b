package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

func FuzzAttack(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","targets":[{"url":"http://h/","weight":2}],"rate":10,"duration":"1m"}`,
		`{"name":"a","targets":[{"url":"http://h/"}],"shape":"ramp","rate":1,"to":1e3,"duration":"1h"}`,
		`{"name":"a","targets":[{"url":"http://h/"}],"shape":"steps","steps":"1x1s,0x1s,2e2x1m"}`,
		`{"name":"a","targets":[{"url":"http://h/"}],"shape":"sine","rate":5,"amplitude":5,"period":"1ns","duration":"1h"}`,
		`{"name":"a","targets":[{"url":"http://h/"}],"shape":"top-up","samples":18446744073709551615,"duration":"1h"}`,
		`{"name":"p","namespace":"n","phase":"Progressing","metadata":{"url":"http://h/","rate":"1e-300","duration":"1ns"}}`,
		`{"name":"p","namespace":"n","phase":"Progressing","metadata":{"targets":"[{\"url\":\"http://h\"}]","steps":"1x1s","shape":"steps"}}`,
		`{"name":"p","namespace":"n","phase":"Progressing","metadata":{"url":"http://h","rate":"Inf","samples":"-1","keepAlive":"T"}}`,
		`{"name":"p","namespace":"n","phase":"Failed"}`,
		`{}`, `[]`, `{"name":1}`, `{"name":"a"}{}`,
	} {
		f.Add([]byte(seed))
	}
	cfg := Config{AllowedHosts: []string{"h"}, MaxRate: 1000, MaxDuration: time.Hour, MaxInFlight: 100, MaxAttacks: 10, Timeout: time.Second}
	attacks, err := New(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	attacks.closing = true // what is taken is told by 409 instead of being sent

	f.Fuzz(func(t *testing.T, text []byte) {
		for _, path := range []string{"/api/v1/attacks", "/hooks/v1/load"} {
			answer := httptest.NewRecorder()
			attacks.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(string(text))))
			switch answer.Code {
			case invalid, forbidden, conflict, tooLarge:
			case http.StatusOK: // a stop of what is not there
				if path == "/api/v1/attacks" {
					t.Errorf("%s answered 200 %s", path, answer.Body)
				}
			default:
				t.Errorf("%s answered %d %s", path, answer.Code, answer.Body)
			}
		}
		var asked Request
		if json.Unmarshal(text, &asked) == nil {
			within(t, attacks, asked)
		}
		var hook payload
		if json.Unmarshal(text, &hook) == nil {
			if asked, err := hook.request("n.p.load"); err == nil {
				within(t, attacks, asked)
			}
		}
	})
}

// within checks that a request that is taken keeps the operator's limits.
func within(t *testing.T, a *Attacks, asked Request) {
	w, err := a.plan(asked, trace.SpanContext{})
	if err != nil {
		if status := statusOf(err); status < 400 || status > 499 {
			t.Errorf("refused with %d: %v", status, err)
		}
		return
	}
	if !(w.rate > 0 && w.rate <= 1e6) || w.inFlight < 1 || w.inFlight > a.cfg.MaxInFlight || asked.Connections > a.cfg.MaxInFlight {
		t.Errorf("taken with rate %v, %d in flight, %d connections", w.rate, w.inFlight, asked.Connections)
	}
	if len(differs(asked, asked)) != 0 {
		t.Error("a request differs from itself")
	}
}
