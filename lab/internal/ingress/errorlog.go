package ingress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// notice is one line of NGINX's error log.
type notice struct {
	level   slog.Level
	fatal   bool // NGINX gave up what it was told to do
	message string
}

// parseNotice reads "2026/11/24 18:00:00 [notice] 12#12: message" and, from before the log is open, "nginx: [emerg] message".
func parseNotice(line string) notice {
	before, rest, ok := strings.Cut(line, "[")
	level, message, ok2 := strings.Cut(rest, "] ")
	if !ok || !ok2 {
		return notice{level: slog.LevelWarn, message: line}
	}
	if before != "nginx: " {
		if _, text, ok := strings.Cut(message, ": "); ok {
			message = text
		}
	}
	n := notice{message: message, fatal: level == "emerg"}
	switch level {
	case "emerg", "alert", "crit":
		n.level = slog.LevelError
	case "error", "warn":
		n.level = slog.LevelWarn
	default:
		n.level = slog.LevelDebug
	}
	// The file compiled in, which NGINX tries before it reads where we want the log.
	if strings.HasPrefix(message, "could not open error log file") {
		n.level = slog.LevelDebug
	}
	return n
}

// readErrorLog passes the log on, and learns from it which workers there are.
func (p *process) readErrorLog(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	fresh := false // workers of a new configuration are about to start
	for lines.Scan() {
		n := parseNotice(lines.Text())
		p.log.Log(context.Background(), n.level, "nginx said", "line", n.message)
		var pid int
		if n.message == "start worker processes" {
			fresh = true
		} else if _, err := fmt.Sscanf(n.message, "start worker process %d", &pid); err == nil {
			p.worker(pid, true)
			if fresh {
				fresh = false
				p.announce()
			}
		} else if _, err := fmt.Sscanf(n.message, "worker process %d exited", &pid); err == nil {
			p.worker(pid, false)
		} else if n.fatal {
			p.mu.Lock()
			p.complaint = n.message
			p.mu.Unlock()
		}
	}
	if err := lines.Err(); err != nil {
		p.log.Error("error log of nginx ended early", "error", err)
		_, _ = io.Copy(io.Discard, from) // so that NGINX never waits for a reader that is gone
	}
}

func (p *process) worker(pid int, alive bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if alive {
		p.workers[pid] = true
	} else {
		delete(p.workers, pid)
	}
	p.metrics.processes.Set(float64(1 + len(p.workers)))
}

func (p *process) announce() {
	select {
	case p.started <- struct{}{}:
	default:
	}
}
