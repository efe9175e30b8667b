package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted answers questions about a release one after the other, the last one again and again.
type scripted struct {
	mu      sync.Mutex
	answers []string // JSON, or a status
	asked   []string // queries
	said    []string // paths and bodies of what was posted
	heard   chan bool
	report  string
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		s.said = append(s.said, r.URL.Path+" "+string(body))
		fmt.Fprint(w, `{}`)
		return
	case strings.HasSuffix(r.URL.Path, "/report.md"):
		fmt.Fprint(w, s.report)
		return
	case r.URL.Path != "/api/v1/verdict":
		fmt.Fprint(w, `{"reported":true}`)
		return
	}
	s.asked = append(s.asked, r.URL.RawQuery)
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	} else if s.heard != nil {
		select {
		case s.heard <- true:
		default:
		}
	}
	var status int
	if n, _ := fmt.Sscanf(answer, "%d", &status); n == 1 {
		w.WriteHeader(status)
		fmt.Fprint(w, `{"error":"not now"}`)
		return
	}
	fmt.Fprint(w, answer)
}

func (s *scripted) start(t *testing.T) string {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

const (
	notSeen  = `{"state":"unknown","text":"nothing carries the deploy id v2 yet","mark":"0"}`
	underWay = `{"state":"under-way","mark":"1","text":"on its way","canary":{"namespace":"demo","name":"shop"},
		"rollout":{"id":"demo-shop-b-1","weight":10,"canaryRequests":{"good":99,"bad":1}},
		"verdict":{"outcome":"hold","reasons":[{"kind":"evidence-needed","text":"94 clean requests are needed"}]},
		"gates":[{"kind":"freeze","why":"frozen from Fri 16:00","opensAt":"2026-01-05T08:00:00Z"},{"kind":"hold","open":true}]}`
	bad = `{"state":"rolled-back","mark":"2","text":"2.0 of demo/shop was rolled back to 1.0: 5 of 20 requests failed","canary":{"namespace":"demo","name":"shop"},
		"rollout":{"id":"demo-shop-b-1"},"verdict":{"outcome":"fail","reasons":[{"kind":"slo","text":"5 of 20 requests failed"},{"kind":"compare","text":"worse"}]}}`
)

func final(state string) string {
	return fmt.Sprintf(`{"state":%q,"mark":"3","text":"2.0 of demo/shop: %s","canary":{"namespace":"demo","name":"shop"},"rollout":{"id":"demo-shop-b-1"},"verdict":{"outcome":"pass","reasons":[{"kind":"step-done","text":"all is well"}]}}`, state, state)
}

// wait runs the command and gives its exit code and what it printed.
func wait(ctx context.Context, url string, more ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	err := run(ctx, append([]string{"wait", "--deploy-id", "v2", "--server", url}, more...), &stdout, &stderr)
	if err != nil {
		code = exitCode(err)
		fmt.Fprintln(&stderr, "gatekeeper:", err) // as main does
	}
	return code, stdout.String(), stderr.String()
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestWaitTellsEachEndByItsExitCode(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		code    int
		last    string // of standard error
	}{
		"promoted":                    {[]string{notSeen, underWay, final("promoted")}, 0, ""},
		"rolled back":                 {[]string{notSeen, underWay, bad}, 2, "gatekeeper: 5 of 20 requests failed"},
		"rolled back by Flagger":      {[]string{underWay, final("rolled-back")}, 2, "gatekeeper: 2.0 of demo/shop: rolled-back"},
		"the Canary was deleted":      {[]string{underWay, final("aborted")}, 2, "gatekeeper: 2.0 of demo/shop: aborted"},
		"stuck in its promotion":      {[]string{underWay, final("stuck")}, 2, "gatekeeper: 2.0 of demo/shop: stuck"},
		"superseded":                  {[]string{underWay, final("superseded")}, 4, "gatekeeper: 2.0 of demo/shop: superseded"},
		"nothing to do":               {[]string{notSeen, final("nothing-to-do")}, 4, "gatekeeper: 2.0 of demo/shop: nothing-to-do"},
		"not decided in time":         {[]string{underWay}, 3, "gatekeeper: not decided after 300ms: on its way"},
		"never seen":                  {[]string{notSeen}, 3, "gatekeeper: not decided after 300ms: nothing carries the deploy id v2 yet"},
		"the right to read is needed": {[]string{"401"}, 1, "gatekeeper: the gatekeeper refused (401): not now"},
		"several Canaries":            {[]string{"409"}, 1, "gatekeeper: the gatekeeper refused (409): not now"},
		"an older gatekeeper":         {[]string{`{}`}, 1, "or an older one"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{answers: c.answers}
			code, out, errs := wait(t.Context(), s.start(t), "--timeout", "300ms")
			if code != c.code || c.last == "" && errs != "" || !strings.HasSuffix(lastLine(errs), c.last) {
				t.Errorf("exit %d, said\n%s%s want exit %d and last %q", code, out, errs, c.code, c.last)
			}
		})
	}
}

// A drill's measure is for how long users could meet the bad release.
func TestWaitTellsHowLongUsersMetTheRelease(t *testing.T) {
	met := strings.Replace(bad, `"rollout":{`, `"rollout":{"firstTrafficAt":"2026-01-02T03:04:05.9Z","endedAt":"2026-01-02T03:04:35.2Z",`, 1)
	outputs := filepath.Join(t.TempDir(), "outputs")
	_, out, _ := wait(t.Context(), (&scripted{answers: []string{met}}).start(t), "--output", "json", "--in-actions", "--output-file", outputs)
	text, err := os.ReadFile(outputs)
	if !strings.HasSuffix(lastLine(out), `,"exposedSeconds":29}`) || err != nil || !regexp.MustCompile(`exposed-seconds<<end-\w+\n29\n`).Match(text) {
		t.Errorf("said\n%s gave\n%s %v", out, text, err)
	}
}

// A rehearsal is over well when its release came back, and only then.
func TestWaitEndsWellWithWhatIsAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		accept, answer string
		code           int
		last           string
	}{
		"a drill came back":                      {"rolled-back", bad, 0, ""},
		"a drill was promoted":                   {"rolled-back", final("promoted"), 2, "gatekeeper: 2.0 of demo/shop: promoted; accepted is only: rolled-back"},
		"a drill that a person ended shows less": {"rolled-back", final("aborted"), 2, "gatekeeper: 2.0 of demo/shop: aborted"},
		"a first installation":                   {"promoted,nothing-to-do", final("nothing-to-do"), 0, ""},
		"a release that came back all the same":  {"promoted,nothing-to-do", bad, 2, "gatekeeper: 5 of 20 requests failed"},
		"a result that there is not":             {"fine", bad, 1, `"promoted","rolled-back","superseded","nothing-to-do"`},
	} {
		t.Run(name, func(t *testing.T) {
			outputs := filepath.Join(t.TempDir(), "outputs")
			code, _, errs := wait(t.Context(), (&scripted{answers: []string{underWay, c.answer}}).start(t), "--accept", c.accept, "--in-actions", "--output-file", outputs, "--timeout", "5s")
			if code != c.code || !strings.Contains(lastLine(errs), c.last) || code == 0 && strings.Contains(errs, "::error") {
				t.Errorf("exit %d, said\n%s want exit %d and last %q", code, errs, c.code, c.last)
			}
			if text, _ := os.ReadFile(outputs); code != 1 && !strings.Contains(string(text), "reason<<") {
				t.Errorf("the step's outputs are %q", text)
			}
		})
	}
}

func TestWaitShowsEachChangeOnce(t *testing.T) {
	s := &scripted{answers: []string{notSeen, notSeen, underWay, underWay, final("promoted")}}
	_, out, _ := wait(t.Context(), s.start(t), "--canary", "demo/shop")
	want := `    0s  unknown  nothing carries the deploy id v2 yet
    0s   10 %  hold  100 requests, 1 % bad  94 clean requests are needed; gate freeze is closed: frozen from Fri 16:00, opens at Mon 2026-01-05 08:00 UTC
    0s  promoted  2.0 of demo/shop: promoted
`
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if got := strings.Join(s.asked[:2], " "); got != "canary=demo%2Fshop&deploy-id=v2 canary=demo%2Fshop&deploy-id=v2&seen=0&wait=25s" {
		t.Errorf("asked %s", got)
	}
}

func TestWaitForMachines(t *testing.T) {
	s := &scripted{answers: []string{notSeen, bad}}
	url := s.start(t)
	code, out, _ := wait(t.Context(), strings.Replace(url, "://", "://ann:secret@", 1), "--output", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 2 || len(lines) != 3 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	want := `{"result":"rolled-back","exitCode":2,"reason":"5 of 20 requests failed","rollout":"demo-shop-b-1","canary":"demo/shop","reportUrl":"` + url + `/api/v1/rollouts/demo-shop-b-1/report.md","seconds":0}`
	if lines[2] != want {
		t.Errorf("got  %s\nwant %s", lines[2], want)
	}
}

// Where the gatekeeper knows how people come to traces, a wait passes it on.
func TestWaitLeadsToTheTrace(t *testing.T) {
	traced := strings.Replace(final("promoted"), "{", `{"traceUrl":"https://traces.example/abc",`, 1)
	outputs := filepath.Join(t.TempDir(), "outputs")
	code, out, _ := wait(t.Context(), (&scripted{answers: []string{traced}}).start(t), "--in-actions", "--output-file", outputs, "--summary-file", outputs+".md")
	text, err := os.ReadFile(outputs)
	if code != 0 || !strings.HasSuffix(out, "\ntrace: https://traces.example/abc\n") || err != nil || !regexp.MustCompile(`trace-url<<end-\w+\nhttps://traces.example/abc\n`).Match(text) {
		t.Errorf("exit %d, said\n%s gave\n%s %v", code, out, text, err)
	}
	_, out, _ = wait(t.Context(), (&scripted{answers: []string{traced}}).start(t), "--output", "json")
	if !strings.Contains(lastLine(out), `"traceUrl":"https://traces.example/abc"`) {
		t.Errorf("said %s", out)
	}
}

func TestWaitTellsGitHub(t *testing.T) {
	for name, c := range map[string]struct {
		answers                    []string
		annotation, summary, gives string
	}{
		"promoted": {
			[]string{underWay, final("promoted")},
			"",
			"## demo-shop-b-1: an entry\n\n[Error rates](URL/api/v1/rollouts/demo-shop-b-1/chart.svg)\n\n", "result=promoted rollout=demo-shop-b-1 canary=demo/shop reason=2.0 of demo/shop: promoted",
		},
		"rolled back": {
			[]string{underWay, bad},
			"::error title=release v2%3A rolled-back::5 of 20 requests failed\n",
			"## demo-shop-b-1: an entry\n\n[Error rates](URL/api/v1/rollouts/demo-shop-b-1/chart.svg)\n\n", "result=rolled-back rollout=demo-shop-b-1 canary=demo/shop reason=5 of 20 requests failed",
		},
		"superseded": {
			[]string{final("superseded")},
			"::warning title=release v2%3A superseded::2.0 of demo/shop: superseded\n",
			"## demo-shop-b-1: an entry\n\n[Error rates](URL/api/v1/rollouts/demo-shop-b-1/chart.svg)\n\n", "result=superseded rollout=demo-shop-b-1 canary=demo/shop reason=2.0 of demo/shop: superseded",
		},
		"never seen": {
			[]string{notSeen},
			"::error title=release v2%3A timeout::not decided after 1s: nothing carries the deploy id v2 yet\n",
			"## Release v2: timeout\n\nnot decided after 1s: nothing carries the deploy id v2 yet\n\n", "result=timeout rollout= canary= reason=not decided after 1s: nothing carries the deploy id v2 yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			summary, outputs := filepath.Join(dir, "summary"), filepath.Join(dir, "outputs")
			s := &scripted{answers: c.answers, report: "## demo-shop-b-1: an entry\n\n![Error rates](chart.svg)\n"}
			url := s.start(t)
			_, _, errs := wait(t.Context(), url, "--timeout", "1s", "--in-actions", "--summary-file", summary, "--output-file", outputs)
			if annotation := strings.Join(regexp.MustCompile(`(?m)^::.*\n`).FindAllString(errs, -1), ""); annotation != c.annotation {
				t.Errorf("annotated %q, want %q", annotation, c.annotation)
			}
			if text, err := os.ReadFile(summary); err != nil || string(text) != strings.Replace(c.summary, "URL", url, 1) {
				t.Errorf("summary %q %v, want %q", text, err, c.summary)
			}
			text, err := os.ReadFile(outputs)
			if err != nil {
				t.Fatal(err)
			}
			got := regexp.MustCompile(`<<end-\w+\n(.*)\nend-\w+\n`).ReplaceAllString(string(text), "=$1 ")
			report := ""
			if strings.Contains(c.gives, "demo-shop") {
				report = url + "/api/v1/rollouts/demo-shop-b-1/report.md"
			}
			if want := c.gives + " report-url=" + report + " "; got != want {
				t.Errorf("outputs\n%s, want\n%s", got, want)
			}
		})
	}
}

func TestWaitSurvivesWhatComesBack(t *testing.T) {
	s := &scripted{answers: []string{underWay, "503", "502", "429", "500", final("promoted")}}
	code, _, errs := wait(t.Context(), s.start(t))
	if code != 0 || len(s.asked) != 6 || strings.Count(errs, "asking again") != 1 || strings.Count(errs, "answers again") != 1 {
		t.Errorf("exit %d, said\n%s", code, errs)
	}
}

func TestWaitThatNeverReachesAnybody(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	code, _, errs := wait(t.Context(), "http://ann:secret@"+address, "--timeout", "100ms")
	if code != 3 || !strings.Contains(errs, "the gatekeeper did not answer") || strings.Contains(errs, "secret") {
		t.Errorf("exit %d, said\n%s", code, errs)
	}
	for name, call := range map[string][]string{"no URL": {"::", "--timeout", "1m"}, "no time": {"http://" + address, "--timeout", "soon"}} {
		if code, _, errs := wait(t.Context(), call[0], call[1:]...); code != 1 {
			t.Errorf("%s: exit %d, said\n%s", name, code, errs)
		}
	}
}

func TestAnInterruptedWaitMaySendTheReleaseBack(t *testing.T) {
	for name, c := range map[string]struct {
		answer, said, last string
		more               []string
	}{
		"it is sent back": {
			underWay, `/api/v1/rollouts/demo-shop-b-1/abort {"why":"the pipeline that waited for it was cancelled"}`,
			"gatekeeper: interrupted; the release was sent back",
			[]string{"--abort-on-cancel"},
		},
		"it goes on":               {underWay, "", "gatekeeper: interrupted; the release goes on without being waited for", nil},
		"there is nothing to send": {notSeen, "", "gatekeeper: interrupted; the release was NOT sent back: its rollout has not begun; gatekeeper settle --deploy-id sends it back when it does", []string{"--abort-on-cancel"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scripted{answers: []string{c.answer, c.answer}, heard: make(chan bool, 1)}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-s.heard
				cancel()
			}()
			code, _, errs := wait(ctx, s.start(t), append(c.more, "--timeout", "1m")...)
			if code != 130 || lastLine(errs) != c.last || strings.Join(s.said, "; ") != c.said {
				t.Errorf("exit %d, posted %v, said\n%s", code, s.said, errs)
			}
		})
	}
}

func TestTheLineThatMovesIsTakenAway(t *testing.T) {
	var out, errs bytes.Buffer
	s := &show{streams: streams{&out, &errs}, live: true}
	var r release
	if err := json.Unmarshal([]byte(underWay), &r); err != nil {
		t.Fatal(err)
	}
	s.state(r, time.Second, true)
	s.state(r, 2*time.Second, false)
	s.note("no answer")
	s.end()
	if got := strings.Count(out.String(), "\r\x1b[K"); got != 2 || !strings.HasSuffix(out.String(), "\r\x1b[K") || !strings.Contains(out.String(), "…") {
		t.Errorf("%d lines were painted over: %q", got, out.String())
	}
}

// Nobody asked for the job's own token: where it does not hold, what is open to everybody is asked without.
func TestAJobWhoseTokenDoesNotHoldAsksWithout(t *testing.T) {
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"value":%q}`, jwt(time.Now().Add(time.Hour)))
	}))
	t.Cleanup(github.Close) // not before the parallel parts end
	for name, c := range map[string]struct {
		open  bool // for whoever comes without a token
		more  []string
		code  int
		notes int
		last  string
	}{
		"everybody may read": {open: true, notes: 1, code: 2, last: "gatekeeper: 5 of 20 requests failed"},
		"nobody may":         {notes: 1, code: 1, last: "--oidc-audience gatekeeper and --oidc-repositories or --oidc-subjects that name this repository"},
		"a token was given":  {open: true, more: []string{"--token", "wrong"}, code: 1, last: "gatekeeper: the gatekeeper refused (401): not known here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scripted{answers: []string{notSeen, underWay, bad}}
			refusals := 0
			door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" || !c.open {
					refusals++
					w.WriteHeader(http.StatusUnauthorized)
					fmt.Fprint(w, `{"error":"not known here"}`)
					return
				}
				s.ServeHTTP(w, r)
			}))
			defer door.Close()
			code, _, errs := wait(t.Context(), door.URL, append(c.more, "--token-url", github.URL, "--token-key", "key", "--timeout", "1m")...)
			if code != c.code || strings.Count(errs, "asking without it") != c.notes || !strings.HasSuffix(lastLine(errs), c.last) {
				t.Errorf("exit %d, said\n%s want exit %d, %d notes and last %q", code, errs, c.code, c.notes, c.last)
			}
			if c.open && refusals != 1 {
				t.Errorf("the token was shown %d times, want once: attempts that fail are counted", refusals)
			}
		})
	}
}

func TestWaitAtAnotherServerSaysWhereToLook(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	code, _, errs := wait(t.Context(), server.URL, "--timeout", "1m")
	if code != 1 || !strings.Contains(errs, "people's door (port 8081)") {
		t.Errorf("exit %d, said\n%s", code, errs)
	}
}
