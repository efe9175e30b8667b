package seen

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	vector := func(values ...string) string {
		var results []string
		for _, v := range values {
			results = append(results, `{"metric":{},"value":[1,"`+v+`"]}`)
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(results, ",") + `]}}`
	}
	for _, tc := range []struct {
		proves, answer string
		status         int
		want           uint64
		err            string
	}{
		{"one value is the count", vector("42"), 200, 42, ""},
		{"increase gives fractions", vector("41.6"), 200, 42, ""},
		{"a scalar too", `{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}`, 200, 7, ""},
		{"no value is not nothing", vector(), 200, 0, "0 results"},
		{"two values are unclear", vector("1", "2"), 200, 0, "2 results"},
		{"not a number", vector("NaN"), 200, 0, "must be a count"},
		{"endless", vector("+Inf"), 200, 0, "must be a count"},
		{"under nothing", vector("-1"), 200, 0, "must be a count"},
		{"a range is no instant", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, 200, 0, "must be a count"},
		{"a wrong query", `{"status":"error","errorType":"bad_data","error":"parse error"}`, 400, 0, "parse error"},
		{"an outage", "down", 503, 0, "503"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.FormValue("query"); r.URL.Path != "/sub/api/v1/query" || got != "sum(increase(x[35s]))" {
					t.Errorf("asked %s for %q", r.URL.Path, got)
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.answer))
			}))
			defer server.Close()
			asker, err := New(server.URL+"/sub", nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := asker.Query(t.Context(), "sum(increase(x[$elapsed]))", 34200*time.Millisecond)
			if got != tc.want || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%d, %v; want %d, %q", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "prometheus:9090", "ftp://p", "http://", "http://a b"} {
		if _, err := New(address, nil); err == nil {
			t.Errorf("%q was taken", address)
		}
	}
}
