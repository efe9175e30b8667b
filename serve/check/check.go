// Package check is the command with which a program without a shell asks a URL: for
// helm test and for people inside a pod.
package check

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Command is the command line, for Kong.
type Command struct {
	URL     string        `arg:"" help:"URL to ask."`
	Timeout time.Duration `default:"5s" help:"Time each answer may take."`
	Wait    time.Duration `default:"0s" help:"How long to ask again, every half second, until the answer is good; the last one may take its time. 0 asks once."`
}

// Run asks until the answer is 2xx, Wait is over or ctx ends, and prints URL and status
// to out. The error says what the last answer was, or why ctx ended.
//
// A new Service refuses connections for a moment after its pods are ready: kube-proxy
// gathers changes for a second before it passes them on (minSyncPeriod).
func (c Command) Run(ctx context.Context, out io.Writer) error {
	status, err := backoff.Retry(ctx, func() (string, error) { return c.ask(ctx) },
		backoff.WithBackOff(backoff.NewConstantBackOff(500*time.Millisecond)), backoff.WithMaxElapsedTime(max(c.Wait, 1)))
	if err != nil {
		return fmt.Errorf("check %s: %w", c.URL, err)
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", c.URL, status)
	return err
}

func (c Command) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return "", backoff.Permanent(err)
	}
	// Each time a new connection: an old one would go on to the pod of before.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status decides; the body only explains
		return "", fmt.Errorf("want 2xx, got %s: %s", resp.Status, body)
	}
	return resp.Status, nil
}
