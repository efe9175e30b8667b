package drill

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// Request is a hook call as Flagger made it, without what differs between two calls of the same kind.
type Request struct {
	Hook    string         `json:"hook"`
	Method  string         `json:"method"`
	Path    string         `json:"path"`
	Headers http.Header    `json:"headers"`
	Body    map[string]any `json:"body"`
}

// masked are the values of a body that no two calls share, as kinds.
func masked() map[string]string {
	return map[string]string{"checksum": "<hash>", "timestamp": "<unix ms>"}
}

// request masks a call.
func (c Call) request() (Request, error) {
	r := Request{Hook: c.Hook, Method: c.Method, Path: c.Path, Headers: c.Headers.Clone()}
	r.Headers.Del("Content-Length")
	if err := json.Unmarshal([]byte(c.Body), &r.Body); err != nil {
		return r, fmt.Errorf("read body of hook call %d: %w", c.Number, err)
	}
	fields := []map[string]any{r.Body}
	if metadata, ok := r.Body["metadata"].(map[string]any); ok {
		fields = append(fields, metadata)
	}
	for _, object := range fields {
		for name, mask := range masked() {
			if _, has := object[name]; has {
				object[name] = mask
			}
		}
	}
	return r, nil
}

// Capture writes, into a folder, the courses that were seen and the first call of each hook that Flagger made: what
// transcripts.json here and the gatekeeper's golden requests are made from.
func (o Outcome) Capture(folder string) error {
	courses := map[string][]string{}
	requests, seen := []Request{}, map[string]bool{}
	for _, r := range o.Scenarios {
		if r.Course != nil {
			courses[strconv.Itoa(r.Number)] = r.Course
		}
		for _, c := range r.calls {
			if seen[c.Hook] {
				continue
			}
			seen[c.Hook] = true
			request, err := c.request()
			if err != nil {
				return err
			}
			requests = append(requests, request)
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder of what was captured: %w", err)
	}
	for name, content := range map[string]any{"transcripts.json": courses, "hooks.json": requests} {
		text, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
