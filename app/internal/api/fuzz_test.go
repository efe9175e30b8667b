package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// mostMemory bounds what reading one plan may allocate, in bytes: a body is at
// most 64 KiB, so this is far from linear growth gone wrong.
const mostMemory = 4 << 20

// FuzzPlan: whatever is accepted is within the limits, means the same when it is
// written and read again, and names a fault for every draw.
func FuzzPlan(f *testing.F) {
	for _, seed := range []string{
		`{"errorRate":0.2,"status":503,"latency":"200ms","jitter":"50ms","ttl":"10m","routes":["/api/items"],"seed":7}`,
		`{"abortRate":0.5,"hangRate":0.5,"ttl":"1h"}`,
		`{"unready":true,"crashAfter":"100ms","memory":"64Mi","cpu":4,"ttl":"1s"}`,
		`{"memory":1048576,"ttl":"1m","scope":"version","revision":"7d4b9c6f5"}`,
		`{"memory":"512Ki","ttl":"1h0m0.000000001s"}`,
		`{"errorRate":1e-400,"ttl":"1m","seed":18446744073709551615}`,
		`{"ttl":null}`, `[]`, `{"ttl":"1m"}{}`, ``,
	} {
		f.Add([]byte(seed))
	}
	routes := build(f, "").paths()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > maxBody {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		plan, err := decodePlan(raw, routes)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > mostMemory {
			t.Errorf("reading %d bytes allocated %d", len(raw), got)
		}
		if err != nil {
			if status, _ := describe(err); status != http.StatusBadRequest {
				t.Errorf("status %d for %v", status, err)
			}
			return
		}
		if err := plan.Validate(routes); err != nil || plan.Memory > chaos.MaxMemory || plan.TTL > chaos.MaxTTL || plan.Latency+plan.Jitter > chaos.MaxLatency {
			t.Errorf("accepted beyond the limits: %+v (%v)", plan, err)
		}
		wire, err := json.Marshal(encodePlan(plan))
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodePlan(wire, routes)
		if len(plan.Routes) == 0 {
			plan.Routes = nil // an empty list says the same
		}
		if err != nil || !reflect.DeepEqual(plan, again) {
			t.Errorf("%+v became %+v (%v) by way of %s", plan, again, err, wire)
		}
		for _, draw := range []float64{0, 0.5, 0.999999} {
			for _, route := range append(routes, "/nowhere") {
				fault := plan.Pick(route, draw, draw, 0)
				if fault.Delay < 0 || fault.Delay > chaos.MaxLatency || (fault.Status != 0) != (fault.End == chaos.Error) {
					t.Errorf("%+v for a draw of %v", fault, draw)
				}
			}
		}
	})
}

// FuzzItem: whatever is sent as an item is an answer that says what it is, never a
// failure of ours.
func FuzzItem(f *testing.F) {
	for _, seed := range []string{`{"name":"nut","quantity":3}`, `{"name":""}`, `{"quantity":1e9}`, `{"name":"\ud800"}`, `[]`, ``} {
		f.Add([]byte(seed))
	}
	handler := build(f, "").Handler()
	f.Fuzz(func(t *testing.T, raw []byte) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/items", bytes.NewReader(raw)))
		var made item
		err := json.Unmarshal(recorder.Body.Bytes(), &made)
		switch recorder.Code {
		case http.StatusCreated:
			if err != nil || made.Name == "" || made.Quantity < 0 {
				t.Errorf("created %+v (%v)", made, err)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if err := errors.Join(err, json.Unmarshal(recorder.Body.Bytes(), new(problem))); err != nil {
				t.Errorf("%q is no problem: %v", recorder.Body, err)
			}
		default:
			t.Errorf("status %d", recorder.Code)
		}
	})
}
