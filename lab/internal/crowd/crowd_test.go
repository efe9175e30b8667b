package crowd

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestACrowdIsACluster(t *testing.T) {
	c, err := New(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for path, want := range map[string]string{
		"/apis/flagger.app/v1beta1/canaries":                              `"phase":"Progressing"`,
		"/api/v1/namespaces/crowd/pods/c1-primary-abc-x":                  `"prometheus.io/path":"/c1-primary/primary"`,
		"/apis/apps/v1/namespaces/crowd/replicasets/c0-abc":               `"readyReplicas":1`,
		"/apis/networking.k8s.io/v1/namespaces/crowd/ingresses/c0-canary": `canary-weight":"10"`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if text := strings.ReplaceAll(string(body), `": "`, `":"`); err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: %s %v, want %s in it", path, body, err, want)
		}
	}
}
