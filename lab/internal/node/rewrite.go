package node

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file is the one place where a process differs from a container: a process shares the file system and the ports of
// the machine. So what a container knows as its own path or port is replaced by the host's, in arguments and in values of
// environment variables. The content of files is left alone.

// mount says where a container's path is on the host.
type mount struct{ container, host string }

// translation is what a container knows by another name than its process.
type translation struct {
	mounts []mount
	// ports are the host's by the container's.
	ports map[int32]int32
}

// value turns a container's value into the process's.
func (t translation) value(v string) string { return rewritePorts(rewritePaths(v, t.mounts), t.ports) }

// template does so with a value that refers to known ones. Those are translated already, and a path of the host may begin
// with a path of the container: so the paths come first, while a port may be put together from what is known.
func (t translation) template(v string, known map[string]string) string {
	return rewritePorts(expand(rewritePaths(v, t.mounts), known), t.ports)
}

// rewritePaths replaces paths that begin with a mount's path, whole elements only. A path begins where the value does,
// after one of "=:, " or a quote, and after "://".
func rewritePaths(value string, mounts []mount) string {
	longestFirst := slices.Clone(mounts)
	slices.SortStableFunc(longestFirst, func(a, b mount) int { return len(b.container) - len(a.container) })
	var out strings.Builder
	for i := 0; i < len(value); {
		if m, found := mountAt(value, i, longestFirst); found {
			out.WriteString(m.host)
			i += len(m.container)
			continue
		}
		out.WriteByte(value[i])
		i++
	}
	return out.String()
}

func mountAt(value string, i int, mounts []mount) (mount, bool) {
	if value[i] != '/' || i > 0 && !strings.ContainsRune("=:, '\"", rune(value[i-1])) && !strings.HasSuffix(value[:i], "://") {
		return mount{}, false
	}
	for _, m := range mounts {
		rest, found := strings.CutPrefix(value[i:], m.container)
		if found && (rest == "" || strings.ContainsRune("/:,? '\"", rune(rest[0]))) {
			return m, true
		}
	}
	return mount{}, false
}

// ownAddress is an address of the pod itself: all of a value, all after "=", or the host of a URL.
var ownAddress = regexp.MustCompile(`(^|=|://)(?:0\.0\.0\.0|localhost|127\.0\.0\.1|\[::1?\])?:(\d{1,5})(/|$)`)

// rewritePorts replaces addresses of the pod's own ports. A bare number is never taken for a port: a program that wants
// one gets it from the image file, as $(PORT_8080).
func rewritePorts(value string, ports map[int32]int32) string {
	return ownAddress.ReplaceAllStringFunc(value, func(found string) string {
		part := ownAddress.FindStringSubmatch(found)
		number, err := strconv.ParseInt(part[2], 10, 32)
		host, known := ports[int32(number)]
		if err != nil || !known {
			return found
		}
		return part[1] + "127.0.0.1:" + strconv.Itoa(int(host)) + part[3]
	})
}

// below joins a path that may come from anybody to a folder, and refuses one that leaves it.
func below(folder, name string) (string, bool) {
	local := filepath.FromSlash(path.Clean(name))
	return filepath.Join(folder, local), filepath.IsLocal(local)
}
