package fire

import (
	"bytes"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
)

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func FuzzTargets(f *testing.F) {
	for _, seed := range []string{
		`{"url":"http://h/"}`,
		`[{"method":"POST","url":"https://h:8443/a?b","header":{"Host":["x"],"A":["b","c"]},"body":"{}","weight":1000}]`,
		`{"url":"http://h","weight":1000} {"url":"http://h","weight":999} {"url":"http://h","weight":0}`,
		`[{"url":"http://h","header":{"host":["a"],"Host":["b"]}}]`,
		`[[[[[[[[`, `{"url":`, "[]", " ", `{"url":"http://[::1]%25/"}`, `{"weight":1e9}`, `{"url":"http://h","weight":null}`,
		strings.Repeat(`{"url":"http://h"}`, 20),
	} {
		f.Add([]byte(seed))
	}
	once, err := shape.New(shape.Spec{Rate: 1, Duration: time.Second})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := allocated()
		targets, err := ReadTargets(bytes.NewReader(text))
		if err != nil {
			return
		}
		plan, err := NewPlan("fuzz", targets, once, Options{Timeout: time.Second})
		// A weighted order of 10,000 turns is 0.7 MB; 1000 targets are less.
		if used, most := allocated()-before, uint64(8<<20+200*len(text)); used > most {
			t.Errorf("%d bytes of text cost %d bytes, over %d", len(text), used, most)
		}
		if err != nil {
			return
		}
		if len(targets) == 0 || len(targets) > maxTargets || len(plan.targets) > maxTurns || len(plan.targets) < len(targets)/maxWeight {
			t.Errorf("%d targets in %d turns were taken", len(targets), len(plan.targets))
		}
		for _, target := range plan.targets {
			request, err := target.Request() // what every hit does
			if err != nil {
				t.Fatalf("a target was taken that cannot be sent: %v", err)
			}
			if request.ContentLength > maxBody {
				t.Errorf("a body of %d bytes was taken", request.ContentLength)
			}
		}
	})
}
