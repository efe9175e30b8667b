package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// elsewhere is the office of a replica that never leads.
type elsewhere struct{ alone }

func (elsewhere) Run(ctx context.Context, _ func(context.Context) error) error {
	<-ctx.Done()
	return nil
}
func (elsewhere) Holds() bool  { return false }
func (elsewhere) Fresh() error { return nil }

// A standby shows what it is and nothing of rollouts: what it once knew would be told beside what the leader knows now.
func TestAStandbyShowsOnlyItself(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close() // for the replica
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serveCmd{HookListen: "127.0.0.1:0", Listen: address}.serve(ctx, elsewhere{}, slog.New(slog.DiscardHandler), process(), func(context.Context, doors) error {
			return errors.New("it leads")
		})
	}()
	var response *http.Response
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err = http.DefaultClient.Do(request); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer response.Body.Close()
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for name := range families {
		if strings.HasPrefix(name, "gatekeeper_") {
			ours = append(ours, name)
		}
	}
	slices.Sort(ours)
	if want := []string{"gatekeeper_build_info", "gatekeeper_leader"}; !slices.Equal(ours, want) {
		t.Errorf("it shows %v, want %v", ours, want)
	}
	if got := families["gatekeeper_leader"].GetMetric()[0].GetGauge().GetValue(); got != 0 {
		t.Errorf("gatekeeper_leader is %v", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
