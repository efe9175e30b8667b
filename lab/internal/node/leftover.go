package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// recordName is the file beside a container's logs while its process runs.
const recordName = "process.json"

// record lets a later run recognise a process.
type record struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

func writeRecord(dir string, pid int, c command) error {
	text, err := json.Marshal(record{pid, strings.Join(c.argv(), " ")})
	if err != nil {
		return fmt.Errorf("write record of process %d: %w", pid, err)
	}
	return os.WriteFile(filepath.Join(dir, recordName), text, fileMode)
}

// Sweep ends the processes an earlier run left behind and removes its folder. A process is ours when its command line is
// the recorded one or names the folder; the number alone may be somebody else's by now. Where the
// process itself has gone its group may not have, as NGINX outlives its parent: a number that still names a group is
// given to no new process.
func Sweep(ctx context.Context, podsDir string, log *slog.Logger) error {
	records, err := filepath.Glob(filepath.Join(podsDir, "*", "*", recordName))
	if err != nil {
		return err
	}
	for _, path := range records {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var r record
		// A record that a crash cut short names nobody.
		if json.Unmarshal(text, &r) != nil || r.PID <= 1 {
			continue
		}
		if line := commandLine(ctx, r.PID); line == r.Command || strings.Contains(line, podsDir) || line == "" {
			log.Warn("ending a process of an earlier run", "pid", r.PID, "command", r.Command)
			if err := syscall.Kill(-r.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process group %d: %w", r.PID, err)
			}
		}
	}
	return os.RemoveAll(podsDir)
}

// commandLine is empty for a process that is not there. Linux tells it without ps, which small images lack.
func commandLine(ctx context.Context, pid int) string {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
	}
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
