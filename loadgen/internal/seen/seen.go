// Package seen asks Prometheus how many samples others have sent.
package seen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// placeholder stands in a query for the time since the attack began, like 35s.
const placeholder = "$elapsed"

// Asker asks one Prometheus. New makes it; it is safe for concurrent use.
type Asker struct{ prometheus v1.API }

// New takes the base URL of a Prometheus, and the proxy to it or nil.
func New(address string, proxy *url.URL) (Asker, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return Asker{}, errors.New("prometheus URL: must start with http:// or https:// and name a host")
	}
	client, err := api.NewClient(api.Config{Address: address, RoundTripper: &http.Transport{Proxy: http.ProxyURL(proxy)}})
	if err != nil {
		return Asker{}, fmt.Errorf("prometheus URL: %w", err)
	}
	return Asker{v1.NewAPI(client)}, nil
}

// Query asks an instant query at this moment, with $elapsed as whole seconds,
// rounded up. Its value must be one number, the samples since the attack began; a
// query without result is an error, since "none" and "not known yet" look alike.
func (a Asker) Query(ctx context.Context, query string, elapsed time.Duration) (uint64, error) {
	whole := fmt.Sprintf("%ds", max(int64(math.Ceil(elapsed.Seconds())), 1))
	value, _, _, err := a.prometheus.Query(ctx, strings.ReplaceAll(query, placeholder, whole), time.Time{})
	if err != nil {
		return 0, fmt.Errorf("ask Prometheus what others have sent: %w", err)
	}
	number := math.NaN()
	switch v := value.(type) {
	case *model.Scalar:
		number = float64(v.Value)
	case model.Vector:
		if len(v) != 1 {
			return 0, fmt.Errorf("the seen query has %d results: it must have one, wrap it in sum(...)", len(v))
		}
		number = float64(v[0].Value)
	}
	if !(number >= 0 && number < 1<<53) {
		return 0, fmt.Errorf("the seen query answers %v: it must be a count", value)
	}
	return uint64(math.Round(number)), nil
}
