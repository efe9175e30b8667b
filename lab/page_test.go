package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

// watched is a policy with the lab's short times that lets nothing be promoted without a person.
const watched = `policies:
  watched:
    slo: {objective: 99.5, good: ["2xx"]}
    bake: {first: 10s, step: 5s}
    gates: {approval: promotion}
`

// A release is watched on the gatekeeper's page, in a browser that is never told to load it anew: weight and verdict change
// on it, a click approves the promotion, and for the next release a click brings the traffic back.
func TestReleasesOnThePage(t *testing.T) {
	chromium(t) // without one there is nothing to see
	values := filepath.Join(t.TempDir(), "watched.yaml")
	if err := os.WriteFile(values, []byte(watched), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAB_GATEKEEPER_VALUES", values)
	p := build(t)
	up, _, ended := p.start(t, "up", "Everything is up")
	s := p.join(t, values)
	s.release(t, "1.0.0")
	s.phase(t, "Initialized")
	s.users(t)

	token, err := s.kube.Secret(t.Context(), stack.SystemNamespace, stack.TokensSecret, stack.OperatorToken)
	if err != nil {
		t.Fatal(err)
	}
	s.onThePeoplesDoor(t, func(base string) {
		tab := newTab(t)
		tab.do(chromedp.Navigate(base+"/login"), chromedp.SendKeys(chromedp.CSS("#token"), token+kb.Enter), chromedp.WaitVisible(chromedp.CSS("form.who")))
		tab.await("the Canary", `document.querySelector("#cards").innerText.includes("demo/podinfo")`)

		s.release(t, "2.0.0")
		tab.open(base, s.rollout(t, "2.0.0"))
		for _, state := range []string{"10 %", "25 %", "50 %"} {
			tab.await("weight "+state, `seen.some((s) => s.endsWith(", `+state+` of traffic"))`)
		}
		tab.await("that a person is asked", `seen.at(-1) === "Waits for approval, 50 % of traffic"`)
		tab.await("the chart", `[...document.querySelectorAll("#chart img")].every((i) => i.complete && i.naturalWidth > 0)`)
		tab.shots("rollout")
		tab.decide("approve", "watched it")
		tab.await("the promotion", `seen.at(-1).startsWith("Promoted")`)
		s.phase(t, "Succeeded")
		t.Logf("what the page said on the way: %q", inTab[[]string](tab, "seen"))

		s.release(t, "3.0.0")
		tab.open(base, s.rollout(t, "3.0.0"))
		tab.await("weight 10 %", `seen.some((s) => s.endsWith(", 10 % of traffic"))`)
		tab.decide("abort", "does not look right")
		tab.await("that it went back", `seen.at(-1).startsWith("Rolled back")`)
		s.phase(t, "Failed")
		if weight, err := s.kube.Weight(t.Context(), namespace, release); err != nil || weight != 0 {
			t.Errorf("the canary's weight is %d: %v", weight, err)
		}
		tab.do(chromedp.Navigate(base + "/"))
		tab.await("both in the list", `document.querySelector("#recent").innerText.match(/Promoted|Rolled back/g)?.length === 2`)
		tab.shots("canaries")
		tab.isQuiet(base)
	})

	if err := up.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("up ended with %v", err)
	}
}

// site is a lab that another process keeps up.
type site struct {
	kube  *kube.Client
	stack *stack.Stack
	port  int
}

// join is what `lab up` does where another lab has the engine.
func (p program) join(t *testing.T, values string) site {
	t.Helper()
	c := &cli{Root: "..", State: p.state, Cache: ".lab/cache", Engine: "embedded", Port: p.port, Registry: "ghcr.io/rollout-monitoring", GatekeeperValues: []string{values}}
	l, err := c.lab(t.Context(), "up", &stack.Progress{Out: t.Output()}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.up(t.Context(), l.stack.Steps()); err != nil {
		t.Fatal(err)
	}
	client, err := l.stack.Engine.Access.Client()
	if err != nil {
		t.Fatal(err)
	}
	return site{client, l.stack, p.port}
}

// release is a helm upgrade to that version.
func (s site) release(t *testing.T, version string) {
	t.Helper()
	if err := s.stack.Namespace(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	err := s.stack.Upgrade(t.Context(), chart.Release{
		Name: release, Namespace: namespace, Chart: filepath.Join(s.stack.Root, "helm", "podinfo-like"), Values: []string{filepath.Join(s.stack.Root, "lab", "values", "podinfo.yaml")},
		Sets: []string{"image.repository=" + s.stack.AppRepository(), "image.tag=" + version, "deployId=page-" + version, "canary.policy=watched"},
		JSON: []string{"chaos.enabled=false", "canary.stepWeights=[10,25,50]"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// phase waits for the Canary's.
func (s site) phase(t *testing.T, want string) {
	t.Helper()
	eventually(t, 2*time.Minute, "phase "+want, func() bool {
		is, err := s.kube.Phase(t.Context(), namespace, release)
		return err == nil && is == want
	})
}

// users send 80 requests a second through the ingress until the test ends.
func (s site) users(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	t.Cleanup(func() {
		stop()
		sending.Wait()
	})
	sending.Go(func() {
		tick := time.NewTicker(time.Second / 80)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/api/items", s.port), nil)
			if err != nil {
				return
			}
			req.Host = host
			if resp, err := http.DefaultClient.Do(req); err == nil { // what fails is the release's, not the test's
				_ = resp.Body.Close()
			}
		}
	})
}

// onThePeoplesDoor forwards a port to the gatekeeper while use runs.
func (s site) onThePeoplesDoor(t *testing.T, use func(base string)) {
	t.Helper()
	pods, err := s.kube.Pods(t.Context(), stack.SystemNamespace, "gatekeeper")
	if err != nil || len(pods) != 1 {
		t.Fatalf("%d pods of the gatekeeper: %v", len(pods), err)
	}
	err = s.kube.Forward(t.Context(), stack.SystemNamespace, pods[0].Name, 8081, func(base string) error {
		use(base)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// rollout waits until the gatekeeper knows the release of a version, and returns its id.
func (s site) rollout(t *testing.T, version string) (id string) {
	t.Helper()
	eventually(t, time.Minute, "the rollout of "+version, func() bool {
		text, status, err := s.kube.Service(t.Context(), http.MethodGet, stack.SystemNamespace, "gatekeeper", "people", "/api/v1/rollouts?canary="+namespace+"/"+release, nil)
		var list struct {
			Rollouts []struct {
				ID       string
				Revision struct{ DeployID string }
			}
		}
		if err != nil || status != http.StatusOK || json.Unmarshal(text, &list) != nil {
			return false
		}
		for _, r := range list.Rollouts {
			if r.Revision.DeployID == "page-"+version {
				id = r.ID
			}
		}
		return id != ""
	})
	return id
}

// tab is one tab of a headless Chromium with a profile of its own, and what it noticed.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	hosts  []string // that it asked
	errors []string // of the console
}

// chromium is the browser's program. Where there is none the test is skipped.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	t.Skip("there is no chromium on the PATH: apt-get install chromium")
	return ""
}

func newTab(t *testing.T) *tab {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1200, 1160))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.notice); err != nil {
		t.Fatal(err)
	}
	return b
}

// notice takes down which hosts are asked, and what the console shows as an error.
func (b *tab) notice(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Host != "" && !slices.Contains(b.hosts, u.Host) {
			b.hosts = append(b.hosts, u.Host)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, e.ExceptionDetails.Text)
	}
}

// isQuiet checks that there was no error in the console, and that no other host was asked.
func (b *tab) isQuiet(base string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) > 0 {
		b.t.Errorf("the console has errors: %s", strings.Join(b.errors, "\n"))
	}
	if want := []string{strings.TrimPrefix(base, "http://")}; !slices.Equal(b.hosts, want) {
		b.t.Errorf("hosts asked: %v, want %v", b.hosts, want)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// inTab evaluates an expression in the page.
func inTab[T any](b *tab, expression string) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return got
}

// await waits until an expression in the page is true.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	eventually(b.t, 3*time.Minute, what, func() bool {
		// While one page follows another there is none to ask: that is an error, and no answer.
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && yes
	})
}

// open opens a rollout's page and takes down, in the page itself, each state that it shows from then on: a page that is loaded
// anew would have forgotten.
func (b *tab) open(base, id string) {
	b.t.Helper()
	b.do(chromedp.Navigate(base + "/rollouts/" + id))
	b.watch()
}

func (b *tab) watch() {
	b.t.Helper()
	inTab[bool](b, `(() => {
		window.seen = [];
		const look = () => {
			const state = document.querySelector("[data-state]").dataset.state;
			if (seen.at(-1) !== state) seen.push(state);
		};
		look();
		new MutationObserver(look).observe(document.querySelector("#state"), {subtree: true, childList: true, attributes: true});
		return true;
	})()`)
}

// decide clicks a rollout's button, gives a reason and clicks that it is meant.
func (b *tab) decide(what, why string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS("#do-"+what)), chromedp.WaitVisible(chromedp.CSS("#why")), chromedp.SendKeys(chromedp.CSS("#why"), why), chromedp.Click(chromedp.CSS("form.decide button")))
	b.await("that it was taken", `document.querySelector(".said")?.innerText.includes("You `+what+`")`)
	b.watch()
}

// shots takes pictures, light and dark, into the folder that SCREENSHOTS names; none without it.
func (b *tab) shots(name string) {
	b.t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
			b.t.Fatal(err)
		}
		b.await("the chart in "+scheme, `[...document.images].every((i) => i.complete && i.naturalWidth > 0)`)
		quality := int64(40)
		shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
		if err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+"-"+scheme+".webp"), shot.Data, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}
