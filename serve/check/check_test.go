package check_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/check"
)

// late answers 503 until it was asked more often than n times.
func late(t *testing.T, n int32) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= n {
			http.Error(w, "no endpoints yet", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestItAsksAgainUntilTheAnswerIsGood(t *testing.T) {
	url, asked := late(t, 2)
	var out strings.Builder
	if err := (check.Command{URL: url, Timeout: time.Minute, Wait: time.Minute}).Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if want := url + ": 200 OK\n"; out.String() != want || asked.Load() != 3 {
		t.Errorf("printed %q after %d questions, want %q after 3", out.String(), asked.Load(), want)
	}
}

func TestARefusedConnectionIsTriedAgain(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	asked := make(chan error, 1)
	go func() {
		asked <- check.Command{URL: "http://" + address, Timeout: time.Minute, Wait: time.Minute}.Run(t.Context(), &out)
	}()
	select {
	case err := <-asked:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(time.Second): // in which it was refused
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server.Listener, server.Config.Handler = listener, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	server.Start()
	t.Cleanup(server.Close)
	if err := <-asked; err != nil || !strings.Contains(out.String(), "200 OK") {
		t.Errorf("%v, printed %q", err, out.String())
	}
}

func TestItAsksOnceUnlessToldToWait(t *testing.T) {
	url, asked := late(t, 1)
	err := check.Command{URL: url, Timeout: time.Minute}.Run(t.Context(), new(strings.Builder))
	if err == nil || !strings.Contains(err.Error(), "got 503 Service Unavailable: no endpoints yet") || asked.Load() != 1 {
		t.Errorf("after %d questions: %v", asked.Load(), err)
	}
}

func TestTheLastAnswerIsTheReasonWhenTheWaitIsOver(t *testing.T) {
	url, asked := late(t, 1<<30)
	err := check.Command{URL: url, Timeout: time.Minute, Wait: 1200 * time.Millisecond}.Run(t.Context(), new(strings.Builder))
	if err == nil || !strings.Contains(err.Error(), "503") || asked.Load() < 2 {
		t.Errorf("after %d questions: %v", asked.Load(), err)
	}
}

func TestWhatCanNotBecomeGoodIsNotAskedAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := (check.Command{URL: "::", Timeout: time.Minute, Wait: time.Hour}).Run(ctx, new(strings.Builder)); err == nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}
