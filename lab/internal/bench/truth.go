package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// The schedule that every generator is asked for, and what the server does.
const (
	truthRate  = 200 // requests a second
	truthDelay = 20 * time.Millisecond
	stallFrom  = 2 * time.Second
)

// heyWorkers send in turns, each its share of the rate. The server's delay needs four of them.
const heyWorkers = 10

// teller sends at the schedule's rate for a time and says which p99 it saw.
type teller struct {
	name string
	p99  func(ctx context.Context, url string, duration time.Duration) (time.Duration, error)
}

// truth compares the p99 that each generator reports with the true one. Once the server is even: then the truth is what
// its answers took, as it measured them itself. Once it stands still for a second in between: then the truth is what
// users wait for who come at the schedule's moments. Who does not count the requests that should have been sent
// meanwhile (coordinated omission) is told a better story than users have.
func (b *Bench) truth(ctx context.Context) ([]Table, error) {
	peer, err := b.spawnPeer(ctx, serverCPU, b.peers, "stall")
	if err != nil {
		return nil, err
	}
	defer peer.stop()
	var tables []Table
	for _, c := range []struct {
		title           string
		pause, duration time.Duration
	}{
		{"an even server", 0, 4 * time.Second},
		{"a server that stands still for 1s of 10s", time.Second, 10 * time.Second},
	} {
		table := Table{Title: "reported p99, in percent of the true one: " + c.title, Unit: "%"}
		for round := range b.Rounds {
			for _, t := range rotated(b.tellers(), round) {
				plan := fmt.Sprintf("%s/plan?delay=%s&from=%s&for=%s", peer.url, truthDelay, stallFrom, c.pause)
				if _, err := fetch(ctx, http.MethodPost, plan); err != nil {
					return nil, err
				}
				got, err := t.p99(ctx, peer.url+"/", c.duration)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", t.name, err)
				}
				want := truePercentile(99, truthRate, c.duration, truthDelay, stallFrom, c.pause)
				if c.pause == 0 {
					if want, err = b.took(ctx, peer); err != nil {
						return nil, err
					}
				}
				table.add(t.name, 100*got.Seconds()/want.Seconds())
				b.Say(fmt.Sprintf("truth, %s %d/%d %s: p99 %s, true %s", c.title, round+1, b.Rounds, t.name, got, want))
			}
		}
		tables = append(tables, table)
	}
	return tables, nil
}

// took is the p99 of what the server measured since its plan was set.
func (b *Bench) took(ctx context.Context, peer *server) (time.Duration, error) {
	text, err := fetch(ctx, http.MethodGet, peer.url+"/took?percent=99")
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(text)
}

func (b *Bench) tellers() []teller {
	rate := strconv.Itoa(truthRate)
	saved := filepath.Join(b.Dir, "vegeta.bin")
	return []teller{
		{"loadgen", func(ctx context.Context, url string, duration time.Duration) (time.Duration, error) {
			said, err := b.even(ctx, truthRate, duration, url)
			return said.p99, err
		}},
		{"vegeta", func(ctx context.Context, url string, duration time.Duration) (time.Duration, error) {
			targets, err := b.write("targets", "GET "+url+"\n")
			if err != nil {
				return 0, err
			}
			if _, err := b.measure(ctx, nil, b.vegeta, "attack", "-rate", rate, "-duration", duration.String(), "-targets", targets, "-output", saved); err != nil {
				return 0, err
			}
			took, err := b.measure(ctx, nil, b.vegeta, "report", "-type", "json", saved)
			if err != nil {
				return 0, err
			}
			var said struct {
				Latencies struct {
					P99 time.Duration `json:"99th"`
				}
			}
			if err := json.Unmarshal([]byte(took.output), &said); err != nil {
				return 0, fmt.Errorf("read its report: %w", err)
			}
			return said.Latencies.P99, nil
		}},
		{"hey", func(ctx context.Context, url string, duration time.Duration) (time.Duration, error) {
			each := strconv.Itoa(truthRate / heyWorkers)
			took, err := b.measure(ctx, nil, b.hey, "-z", duration.String(), "-c", strconv.Itoa(heyWorkers), "-q", each, url)
			if err != nil {
				return 0, err
			}
			found := heyPattern.FindStringSubmatch(took.output)
			if found == nil {
				return 0, fmt.Errorf("there is no 99%% in its report: %s", took.output)
			}
			return time.ParseDuration(found[1] + "s")
		}},
	}
}

var heyPattern = regexp.MustCompile(`99%+ in ([0-9.]+) secs`)
