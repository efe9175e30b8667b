package fire

import (
	"io"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Recorder writes results to w as vegeta does, for its report and plot commands.
// Requests start when they were due, so that vegeta's latencies are ours; those
// that were cut off are left out, as they are from our counts. The function is
// not safe for concurrent use; w is the caller's.
func Recorder(w io.Writer) func(Result) error {
	encode := vegeta.NewEncoder(w)
	return func(r Result) error {
		if r.Unfinished {
			return nil
		}
		hit := *r.hit
		hit.Timestamp, hit.Latency, hit.Headers = r.Due, r.Latency, nil
		return encode(&hit)
	}
}
