package sinks

import (
	"fmt"
	"strconv"
	"strings"
)

// Press is what a button stands for: a decision about a rollout in sight of one of its versions.
type Press struct {
	Rollout string
	Version int
}

// String is the button's value.
func (p Press) String() string { return strconv.Itoa(p.Version) + " " + p.Rollout }

// ParsePress reads a button's value.
func ParsePress(value string) (Press, error) {
	version, id, ok := strings.Cut(value, " ")
	n, err := strconv.Atoi(version)
	if !ok || err != nil || n < 0 || id == "" {
		return Press{}, fmt.Errorf("read the button's value %.60q: it is not a version and a rollout", value)
	}
	return Press{Rollout: id, Version: n}, nil
}
