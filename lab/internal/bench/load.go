package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// connections of every generator at full speed.
const connections = 64

// generator sends as fast as it can for a time.
type generator struct {
	name    string
	env     []string
	program string
	args    func(url string, d time.Duration) []string
}

func (b *Bench) generators() []generator {
	conns := strconv.Itoa(connections)
	// More than any generator reaches on one processor: it sends without a pause.
	const tooMuch = "400000"
	ours := func(more ...string) func(string, time.Duration) []string {
		return func(url string, d time.Duration) []string {
			args := []string{"run", "--rate", tooMuch, "--duration", d.String(), "--connections", conns, "--max-in-flight", conns, "--output", "json"}
			return append(append(args, more...), url)
		}
	}
	all := []generator{
		{name: "loadgen", program: b.loadgen, args: ours()},
		{name: "vegeta", program: b.vegeta, args: func(_ string, d time.Duration) []string {
			return []string{
				"attack", "-rate", "0", "-max-workers", conns, "-max-connections", conns, "-connections", conns, "-duration", d.String(),
				"-targets", filepath.Join(b.Dir, "targets"), "-max-body", "0", "-output", filepath.Join(b.Dir, "vegeta.bin"),
			}
		}},
		{name: "loadgen --save", program: b.loadgen, args: ours("--save", filepath.Join(b.Dir, "loadgen.bin"))},
		{name: "hey", program: b.hey, args: func(url string, d time.Duration) []string {
			return []string{"-z", d.String(), "-c", conns, url}
		}},
	}
	if b.wrk != "" {
		all = append(all, generator{name: "wrk", env: b.wrkEnv, program: b.wrk, args: func(url string, d time.Duration) []string {
			return []string{"-t", "1", "-c", conns, "-d", fmt.Sprintf("%.0fs", d.Seconds()), url}
		}})
	}
	return all
}

// load compares how many requests each generator gets through NGINX in a time, and what processor time it takes. NGINX
// itself counts the requests, the same for all.
func (b *Bench) load(ctx context.Context) ([]Table, error) {
	nginx, err := b.startNGINX(ctx)
	if err != nil {
		return nil, err
	}
	defer nginx.stop()
	if _, err := b.write("targets", "GET "+nginx.url+"/\n"); err != nil {
		return nil, err
	}
	rate := Table{Title: "requests a second at full speed", Unit: "requests/s", Base: "loadgen", Higher: true}
	cpu := Table{Title: "processor time for 100,000 requests", Unit: "s", Base: "loadgen"}
	for round := range b.Rounds {
		for _, g := range rotated(b.generators(), round) {
			before, err := b.handled(ctx, nginx)
			if err != nil {
				return nil, err
			}
			took, err := b.measure(ctx, g.env, g.program, g.args(nginx.url+"/", b.seconds)...)
			if err != nil {
				return nil, err
			}
			after, err := b.handled(ctx, nginx)
			if err != nil {
				return nil, err
			}
			// One of them is our own question.
			requests := after - before - 1
			// Over the whole life of the process: some go on sending what they owe when the time is over.
			rate.add(g.name, float64(requests)/took.wall.Seconds())
			cpu.add(g.name, took.cpu.Seconds()/float64(requests)*100_000)
			b.Say(fmt.Sprintf("load %d/%d %s: %d requests", round+1, b.Rounds, g.name, requests))
		}
	}
	return []Table{rate, cpu}, nil
}

// summary is what loadgen says of an even load.
type summary struct {
	requests, success float64 // success is a share, 0 to 1
	p99               time.Duration
}

// even lets loadgen send at a rate, in requests a second, for a time.
func (b *Bench) even(ctx context.Context, rate int, d time.Duration, url string) (summary, error) {
	took, err := b.measure(ctx, nil, b.loadgen, "run", "--rate", strconv.Itoa(rate), "--duration", d.String(), "--output", "json", url)
	if err != nil {
		return summary{}, err
	}
	var said struct {
		Requests float64
		Success  float64
		Latency  struct{ P99 string }
	}
	if err := json.Unmarshal([]byte(took.output), &said); err != nil {
		return summary{}, fmt.Errorf("read loadgen's summary: %w", err)
	}
	p99, err := time.ParseDuration(said.Latency.P99)
	return summary{requests: said.Requests, success: said.Success, p99: p99}, err
}

var handledPattern = regexp.MustCompile(`(?m)^ \d+ \d+ (\d+) `)

// handled is how many requests NGINX has taken since its start.
func (b *Bench) handled(ctx context.Context, nginx *server) (uint64, error) {
	text, err := fetch(ctx, http.MethodGet, nginx.url+"/status")
	if err != nil {
		return 0, err
	}
	found := handledPattern.FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("read nginx's status: %q has no counts", text)
	}
	return strconv.ParseUint(found[1], 10, 64)
}

const nginxConfig = `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
%[3]sevents { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  keepalive_requests 1000000000;
  server {
    listen %[2]s backlog=4096;
    location = /status { stub_status; }
    location / { return 200 "ok\n"; }
  }
}
`

// startNGINX starts one worker that answers everything with two letters.
func (b *Bench) startNGINX(ctx context.Context) (*server, error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // else the worker could not enter our folder
	}
	config, err := b.write("nginx.conf", fmt.Sprintf(nginxConfig, b.Dir, addr, user))
	if err != nil {
		return nil, err
	}
	return b.spawn(ctx, serverCPU, "http://"+addr, "/status", nil, b.nginx, "-p", b.Dir, "-c", config, "-e", filepath.Join(b.Dir, "nginx.log"))
}

// freeAddress is a port of loopback that nobody has at the moment.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// rotated lets each round begin with another one, so that none always follows the same.
func rotated[T any](all []T, round int) []T {
	at := round % len(all)
	return append(append([]T{}, all[at:]...), all[:at]...)
}
