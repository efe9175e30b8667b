package fire

import "strings"

const timedOut = "no complete answer within the timeout"

// cause cuts from net/http's error text what differs from one request to the
// next, the URL and the port of our own end, so that equal faults count as one:
//
//	Get "http://h/?n=1": read tcp 10.0.0.1:41234->10.0.0.2:80: read: connection reset by peer
//	read tcp 10.0.0.2:80: read: connection reset by peer
//
// The end of the request timeout has several texts, by where it struck.
func cause(text string) string {
	if strings.Contains(text, "Client.Timeout") || strings.HasSuffix(text, "context deadline exceeded") {
		return timedOut
	}
	if verb, rest, ok := strings.Cut(text, `": `); ok && strings.Contains(verb, ` "http`) {
		text = rest
	}
	before, after, ok := strings.Cut(text, "->")
	if !ok {
		return text
	}
	return before[:strings.LastIndexByte(before, ' ')+1] + after
}
