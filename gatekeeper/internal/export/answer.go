package export

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// answer is what a collector made of a trace.
type answer int

const (
	taken   answer = iota
	partial        // taken, perhaps without some spans, or with a warning: it must not be sent again
	refused        // it would be refused again
	failed         // it may be taken later
)

// What the exporters' errors begin with. Their types are not exported.
const (
	partialText = "traces export: OTLP partial success: "
	refusedText = "traces export: failed to send to " // by HTTP, with a status that is not to be tried again
)

// outcome reads an exporter's error as the protocol has it (opentelemetry.io/docs/specs/otlp, "Failures" of gRPC and of
// HTTP): tried again is only what the collector, or something on the way, says may be.
func outcome(err error) answer {
	switch {
	case err == nil:
		return taken
	case strings.HasPrefix(err.Error(), partialText):
		return partial
	case strings.HasPrefix(err.Error(), refusedText):
		return refused
	}
	said, ok := status.FromError(err)
	if !ok {
		return failed
	}
	switch said.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return failed
	case codes.ResourceExhausted:
		if len(said.Details()) > 0 { // they say when it may be sent again
			return failed
		}
	}
	return refused
}
