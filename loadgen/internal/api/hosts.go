package api

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// hosts are the host names that load may be sent to, in canonical form. An empty
// set allows nothing.
type hosts map[string]bool

// newHosts takes names or addresses without scheme, port or path; IPv6 with or
// without brackets.
func newHosts(names []string) (hosts, error) {
	set := hosts{}
	for _, name := range names {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		u, err := url.Parse("http://" + bracketed(name))
		if err != nil || u.Host != bracketed(name) || u.Port() != "" {
			return nil, fmt.Errorf("allowed host %q: write a host name only, without scheme, port and path", name)
		}
		set[canonical(u.Hostname())] = true
	}
	return set, nil
}

// check refuses a URL whose host is not allowed. It looks at the host that
// net/http will connect to, parsed by the same parser, and compares whole names:
// userinfo, other spellings of an address and look-alike letters do not match.
func (h hosts) check(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return refuse(invalid, "url: %v", err)
	}
	if u.User != nil {
		return refuse(forbidden, "url %q: user and password are not allowed in it", u.Redacted())
	}
	if !h[canonical(u.Hostname())] {
		return refuse(forbidden, "host %q is not allowed: the operator must add it to LOADGEN_ALLOWED_HOSTS", u.Hostname())
	}
	return nil
}

// canonical gives one spelling to names that mean the same host: lower case (of
// ASCII only, as DNS does), no final dot, the short form of an IPv6 address.
func canonical(host string) string {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.String()
	}
	lower := []byte(strings.TrimSuffix(host, "."))
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// bracketed puts an IPv6 address in the brackets that a URL wants.
func bracketed(name string) string {
	if address, err := netip.ParseAddr(name); err == nil && address.Is6() {
		return "[" + name + "]"
	}
	return name
}
