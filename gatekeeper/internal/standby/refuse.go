package standby

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// retryAfter is what people are told to wait, in seconds.
const retryAfter = 3

const nobody = "no replica of the gatekeeper leads now, or it does not answer; another takes over within seconds"

// HookPath says that all but hooks is answered by each replica for itself.
func HookPath(path string) bool { return !strings.HasPrefix(path, hooks) }

const hooks = "/hooks/v1/"

// RefuseHook answers a hook where nobody leads, in Flagger's language (flagger-facts §0.2 to §0.4): 200 to 202 is yes and for
// the rollback hook yes takes traffic back; 429 and 5xx lose the reason. Nothing goes on and nothing is rolled back. Only the
// rollout hook is let through, as it is where nothing is known against a release: a no would burn one of the Canary's failed
// checks for trouble that is ours, and traffic does not grow by it.
func RefuseHook(w http.ResponseWriter, r *http.Request) {
	hook := rollout.Hook(strings.TrimPrefix(r.URL.Path, hooks))
	status := http.StatusForbidden
	switch {
	case !slices.Contains(rollout.Hooks(), hook) || r.Method != http.MethodPost:
		status = http.StatusNotFound
	case hook == rollout.RolloutCheck:
		status = http.StatusOK
	case hook == rollout.PreRollout || hook == rollout.PostRollout || hook == rollout.EventHook:
		status = http.StatusConflict
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, nobody)
}

// PeoplePath says that probes and metrics are each replica's own.
func PeoplePath(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// RefusePeople asks people to come again.
func RefusePeople(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, "{\"error\":%q}\n", nobody)
}

// Probes are what a replica answers for itself while it does not lead: ready says why it can not take requests, metrics is
// for the path of that name, nil where there is none.
func Probes(ready func() error, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok, a standby")
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}
