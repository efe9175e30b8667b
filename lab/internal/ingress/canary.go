package ingress

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const prefix = "nginx.ingress.kubernetes.io/"

// canary is the rule that picks requests for a canary. As in ingress-nginx the header is asked first, then the cookie,
// then chance; each of the first two may also say neither yes nor no.
type canary struct {
	Weight, Total int // Weight of Total requests, 0 <= Weight <= Total

	Header  string // "" for no rule
	Value   string // the one value that says yes; "" for the words always and never
	Pattern string // a regular expression that says yes; only without Value
	Cookie  string // "" for no rule; its values are always and never
}

// parseCanary reads the annotations of an Ingress; ok says whether they make it a canary.
func parseCanary(annotations map[string]string) (rule canary, ok bool, err error) {
	text := annotations[prefix+"canary"]
	if text == "" {
		return canary{}, false, nil
	}
	if ok, err = strconv.ParseBool(text); err != nil || !ok {
		return canary{}, false, wrap(err, "canary")
	}
	rule = canary{
		Header:  annotations[prefix+"canary-by-header"],
		Value:   annotations[prefix+"canary-by-header-value"],
		Pattern: annotations[prefix+"canary-by-header-pattern"],
		Cookie:  annotations[prefix+"canary-by-cookie"],
	}
	if rule.Weight, err = number(annotations, "canary-weight", 0); err != nil {
		return canary{}, true, err
	}
	if rule.Total, err = number(annotations, "canary-weight-total", 100); err != nil {
		return canary{}, true, err
	}
	rule.Total = max(rule.Total, 100) // ingress-nginx takes a smaller one for 100
	rule.Weight = min(max(rule.Weight, 0), rule.Total)
	return rule, true, rule.check()
}

func number(annotations map[string]string, name string, otherwise int) (int, error) {
	text, ok := annotations[prefix+name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	return n, wrap(err, name)
}

func wrap(err error, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read annotation %s: %w", name, err)
}

// check lets nothing pass that NGINX would not take for text.
func (c canary) check() error {
	if strings.Trim(c.Header, letters+"-_") != "" {
		return fmt.Errorf("read annotation canary-by-header: %q is not the name of a header", c.Header)
	}
	if strings.Trim(c.Cookie, letters+"-_.~") != "" {
		return fmt.Errorf("read annotation canary-by-cookie: %q is not the name of a cookie", c.Cookie)
	}
	for _, text := range []string{c.Value, c.Pattern} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("read annotations of canary-by-header: %q is not printable ASCII", text)
		}
	}
	pattern, err := regexp.Compile(c.Pattern)
	if err != nil {
		return wrap(err, "canary-by-header-pattern")
	}
	for _, name := range pattern.SubexpNames() {
		if name != "" { // NGINX would make it a variable and could overwrite another
			return fmt.Errorf("read annotation canary-by-header-pattern: %q has the named group %s", c.Pattern, name)
		}
	}
	return nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// Percent is the share of the requests as split_clients writes it, with its two decimals; a share that is not nothing
// does not become nothing.
func (c canary) Percent() string {
	points := c.Weight * 10_000 / c.Total
	if c.Weight > 0 {
		points = max(points, 1)
	}
	return fmt.Sprintf("%d.%02d%%", points/100, points%100)
}

// Variable is the NGINX variable of the header.
func (c canary) Variable() string {
	return "$http_" + strings.ToLower(strings.ReplaceAll(c.Header, "-", "_"))
}

// HeaderYes and the other three are keys of NGINX maps. They are expressions because NGINX compares plain keys without
// regard to case.
func (c canary) HeaderYes() string {
	switch {
	case c.Value != "":
		return "~^" + regexp.QuoteMeta(c.Value) + "$"
	case c.Pattern != "":
		return "~(?:" + c.Pattern + ")"
	}
	return "~^always$"
}

// HeaderNo is "" when no value of the header says no.
func (c canary) HeaderNo() string {
	if c.Value != "" || c.Pattern != "" {
		return ""
	}
	return "~^never$"
}

// CookieYes matches the whole Cookie header: $cookie_name could not name every cookie.
func (c canary) CookieYes() string { return c.cookie("always") }

// CookieNo is the counterpart of CookieYes.
func (c canary) CookieNo() string { return c.cookie("never") }

func (c canary) cookie(value string) string {
	return "~(?:^|; *)(?i:" + regexp.QuoteMeta(c.Cookie) + ")=" + value + " *(?:;|$)"
}
