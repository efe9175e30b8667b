package web

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// browser is one tab of a headless Chromium that starts with a profile of its own, and what it noticed.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	hosts  []string // that it asked
	errors []string // of the console
}

// newBrowser starts a browser. Where there is none the test is skipped with a reason.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser: left out with -short")
	}
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
		}
	}
	if program == "" {
		t.Skip("there is no chromium on the PATH: apt-get install chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.notice); err != nil {
		t.Fatal(err)
	}
	return b
}

// notice takes down which hosts are asked, and what the console shows as an error.
func (b *browser) notice(event any) {
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
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			b.errors = append(b.errors, fmt.Sprint("console.error ", e.Args))
		}
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, e.ExceptionDetails.Text)
	}
}

// do runs steps one after the other; the first that can not be done ends the test.
func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// inPage evaluates an expression in the page.
func inPage[T any](b *browser, expression string) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return got
}

// scheme asks for light or dark, and a width in pixels.
func (b *browser) look(scheme string, width int64) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(width, 900))
}

// signIn shows a token by the form.
func (b *browser) signIn(server, token string) {
	b.t.Helper()
	b.do(chromedp.Navigate(server+"/login"), chromedp.SendKeys(chromedp.CSS("#token"), token+kb.Enter), chromedp.WaitVisible(chromedp.CSS("form.who")))
}

// await waits until an expression in the page is true, also in another page than at first.
func (b *browser) await(what, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		// While one page follows another there is none to ask: that is an error, and no answer.
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if yes && err == nil {
			return
		}
		if time.Now().After(deadline) || b.ctx.Err() != nil {
			b.t.Fatalf("not seen: %s: %v\n%s", what, err, inPage[string](b, "location.href + document.body.innerText"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tabTo presses the tab key until the element with this id has the focus.
func (b *browser) tabTo(id string) {
	b.t.Helper()
	for range 30 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if inPage[string](b, "document.activeElement.id") == id {
			return
		}
	}
	b.t.Fatalf("the tab key does not lead to %s", id)
}

func TestPagesInABrowser(t *testing.T) {
	s := newScene(t)
	s.play()
	server := s.serve()
	b := newBrowser(t)
	source := axe(t)
	// A page of an error is an error in the console too, so there is none here.
	paths := []string{
		"/login", "/", "/rollouts", "/rollouts?result=open&from=2026-03-04", "/rollouts?q=nothing&result=stuck",
		"/rollouts/" + s.id(podinfo), "/rollouts/" + s.id(cart), "/rollouts/" + s.ended(search), "/rollouts/" + s.id(podinfo) + "/approve", "/rollouts/" + s.id(podinfo) + "/abort",
	}
	for _, signedIn := range []bool{false, true} {
		if signedIn {
			b.signIn(server.URL, "operator-secret")
		}
		for _, path := range paths {
			for _, look := range []struct {
				scheme string
				width  int64
			}{{"light", 1200}, {"dark", 1200}, {"dark", 390}} {
				b.look(look.scheme, look.width)
				b.do(chromedp.Navigate(server.URL + path))
				inPage[any](b, source+";0")
				if found := inPage[[]string](b, breaches); len(found) > 0 {
					t.Errorf("%s, %s, %d pixels wide: %s", path, look.scheme, look.width, strings.Join(found, "\n"))
				}
				if over := inPage[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
					t.Errorf("%s is %d pixels wider than a window of %d", path, over, look.width)
				}
			}
		}
	}
	b.isQuiet(server.URL)
	// What would not be noticed can not be missing.
	inPage[any](b, `document.querySelector("main").insertAdjacentHTML("beforeend", "<img src='/'>")`)
	if found := inPage[[]string](b, breaches); len(found) != 1 {
		t.Errorf("axe finds %v, want a picture without words", found)
	}
	inPage[any](b, `console.error("on purpose")`)
	b.do(chromedp.Navigate(strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/login"))
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) == 0 || len(b.hosts) != 2 {
		t.Errorf("errors and other hosts would not be noticed: errors %v, hosts %v", b.errors, b.hosts)
	}
}

// breaches are what axe finds, all rules but the experimental ones.
const breaches = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(
	(r) => r.violations.map((v) => v.id + ": " + v.help + " " + v.nodes.map((n) => n.html + " " + n.failureSummary).join(" | ")))`

// isQuiet checks that there was no error in the console, and that no other host was asked.
func (b *browser) isQuiet(server string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) > 0 {
		b.t.Errorf("the console has errors: %s", strings.Join(b.errors, "\n"))
	}
	if want := []string{strings.TrimPrefix(server, "http://")}; !slices.Equal(b.hosts, want) {
		b.t.Errorf("hosts asked: %v, want %v", b.hosts, want)
	}
}

func TestByTheKeyboardAlone(t *testing.T) {
	s := newScene(t)
	s.play()
	server := s.serve()
	b := newBrowser(t)
	b.do(chromedp.Navigate(server.URL + "/login"))
	b.await("the field has the focus", `document.activeElement?.id === "token"`)
	b.do(chromedp.KeyEvent("operator-secret" + kb.Enter))
	b.await("the list, signed in", `location.pathname === "/" && document.querySelector("form.who")`)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.await("the skip link leads to the content", `document.activeElement.id === "main"`)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.await("the first Canary", `location.pathname === "/rollouts/`+s.id(podinfo)+`" && document.readyState === "complete"`)
	b.tabTo("do-approve")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await("the question", `document.activeElement?.id === "why"`)
	b.do(chromedp.KeyEvent("seen" + kb.Enter))
	b.await("the answer", `document.querySelector(".said")?.innerText.includes("You approved")`)
	if got := s.decisions(podinfo); len(got) != 1 || got[0].Kind != rollout.Approve || got[0].Why != "seen" {
		t.Errorf("decisions: %+v", got)
	}
	b.isQuiet(server.URL)
}

func TestAnOpenPageStaysFresh(t *testing.T) {
	s := newScene(t)
	s.play()
	id := s.id(podinfo)
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		s.door.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b := newBrowser(t)
	b.signIn(server.URL, "operator-secret")
	b.do(chromedp.Navigate(server.URL+"/rollouts/"+id), chromedp.Focus(chromedp.CSS("#do-hold")))
	inPage[any](b, "window.here = 1")
	b.await("the first state", `document.querySelector("[data-state]").dataset.state === "Waits for approval, 50 % of traffic"`)

	if _, err := s.keeper.Decide(t.Context(), id, 0, rollout.Decision{Kind: rollout.Approve, By: "bob", Via: "api"}); err != nil {
		t.Fatal(err)
	}
	b.await("the approval", `document.querySelector("#gates").innerText.includes("Approved by bob")`)
	b.await("it is said to who does not see it", `document.querySelector("#announce").innerText === "Going well at 50 %, 50 % of traffic"`)
	if !inPage[bool](b, `window.here === 1 && document.activeElement.id === "do-hold"`) {
		t.Errorf("the page was loaded anew, or the focus went to %q", inPage[string](b, "document.activeElement.outerHTML"))
	}
	s.canary(podinfo, "careful", rollout.Promoting, 0, 100, "1.9.4", "2.0.0")
	s.pass(1, podinfo, 0, 0)
	b.await("the promotion", `document.querySelector("#state").innerText.includes("Being promoted")`)
	b.await("the focus is not lost with its button", `document.activeElement.id === "main"`)
	b.isQuiet(server.URL)

	down.Store(true)
	b.await("it says that it may be old", `!document.querySelector("#connection").hidden`)
	s.canary(podinfo, "careful", rollout.Succeeded, 0, 10, "2.0.0", "2.0.0")
	s.pass(1, podinfo, 0, 0)
	down.Store(false)
	b.await("it has found the server again", `document.querySelector("#connection").hidden && document.title.startsWith("Promoted: ")`)
	if !inPage[bool](b, "window.here === 1") {
		t.Error("the page was loaded anew")
	}
}

func TestTheListStaysFreshAndTimesAreInTheReadersZone(t *testing.T) {
	s := newScene(t)
	s.play()
	server := s.serve()
	b := newBrowser(t)
	if _, err := chromedp.Call(b.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(server.URL + "/"))
	inPage[any](b, "window.here = 1")
	b.await("the freeze's end in Tokyo", `document.querySelector("#cards").innerText.includes("4:00:00")`)
	if title := inPage[string](b, `document.querySelector("#cards time").title`); title != "2026-03-05 07:00:00 UTC" {
		t.Errorf("the time in UTC is %q", title)
	}
	s.canary(cart, "office", rollout.Succeeded, 0, 10, "7.0.2", "7.0.2")
	s.pass(2, cart, 0, 0)
	b.await("that the release is gone", `!document.querySelector("#cards").innerText.includes("Frozen")`)
	if !inPage[bool](b, "window.here === 1") {
		t.Error("the page was loaded anew")
	}
	b.isQuiet(server.URL)
}

// axe is the source of axe-core, fetched once by npm into the folder of fetched things.
func axe(t *testing.T) string {
	t.Helper()
	const release = "axe-core-4.14.1"
	file := filepath.Join("..", "..", "..", ".lab", release+".js")
	if text, err := os.ReadFile(file); err == nil {
		return string(text)
	}
	dir := t.TempDir()
	pack := exec.CommandContext(t.Context(), "npm", "pack", "--silent", strings.Replace(release, "core-", "core@", 1))
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		t.Skipf("axe-core can not be fetched: npm pack: %v %s", err, out)
	}
	text, err := unpack(filepath.Join(dir, release+".tgz"), "package/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unpack is one file of a packed archive.
func unpack(archive, name string) ([]byte, error) {
	packed, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	files := tar.NewReader(plain)
	for {
		header, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("find %s in %s: %w", name, archive, err)
		}
		if header.Name == name {
			return io.ReadAll(files)
		}
	}
}
