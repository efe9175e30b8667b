package ingress

import (
	"log/slog"
	"slices"
	"testing"
)

func TestParseNotice(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		want notice
	}{
		"a notice is for those who look closely": {
			"2026/11/24 18:00:00 [notice] 12#12: start worker process 13",
			notice{level: slog.LevelDebug, message: "start worker process 13"},
		},
		"a pod that does not answer is a warning": {
			"2026/11/24 18:00:00 [error] 12#12: *5 connect() failed (111: Connection refused) while connecting to upstream",
			notice{level: slog.LevelWarn, message: "*5 connect() failed (111: Connection refused) while connecting to upstream"},
		},
		"an emergency ends NGINX": {
			"2026/11/24 18:00:00 [emerg] 12#12: bind() to 127.0.0.1:80 failed (98: Address already in use)",
			notice{level: slog.LevelError, fatal: true, message: "bind() to 127.0.0.1:80 failed (98: Address already in use)"},
		},
		"before the log is open there is no time": {
			"nginx: [emerg] bind() to 127.0.0.1:80 failed (98: Address already in use)",
			notice{level: slog.LevelError, fatal: true, message: "bind() to 127.0.0.1:80 failed (98: Address already in use)"},
		},
		"the file compiled in may be closed to us": {
			`nginx: [alert] could not open error log file: open() "/var/log/nginx/error.log" failed (13: Permission denied)`,
			notice{level: slog.LevelDebug, message: `could not open error log file: open() "/var/log/nginx/error.log" failed (13: Permission denied)`},
		},
		"what is not a line of NGINX is passed on": {"Killed", notice{level: slog.LevelWarn, message: "Killed"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseNotice(c.line); got != c.want {
				t.Errorf("parsed %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestParseSample(t *testing.T) {
	const labels = "200\tGET\t/\ttest\tpodinfo\tpodinfo\ttest-podinfo-canary-80\tpodinfo.local"
	s, err := parseSample(labels + "\t120\t0.012\t345\t0.001\t0.010\t0.011")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"200", "GET", "/", "test", "podinfo", "podinfo", "test-podinfo-canary-80", "podinfo.local"}; !slices.Equal(s.labels, want) {
		t.Errorf("labels %q, want %q", s.labels, want)
	}
	if got, want := []float64{s.requestLength, s.requestTime, s.bytesSent, s.connectTime, s.headerTime, s.responseTime}, []float64{120, 0.012, 345, 0.001, 0.010, 0.011}; !slices.Equal(got, want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
	for name, connect := range map[string]string{"no pod was asked": "-", "two pods were asked": "0.001, 0.002"} {
		s, err := parseSample(labels + "\t120\t0.012\t345\t" + connect + "\t-\t-")
		if err != nil || s.connectTime >= 0 {
			t.Errorf("%s: connect time %v, %v; want none", name, s.connectTime, err)
		}
	}
	if _, err := parseSample("200\tGET"); err == nil {
		t.Error("half a line is a sample, want an error")
	}
}
