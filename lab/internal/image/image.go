// Package image says what is wrong with a container image that was built, from what it says of itself and what it holds.
package image

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Want is what an image must be. All images of one build have the same, but for Name, Ports and MaxSize.
type Want struct {
	Name      string // app; also its entrypoint, /app
	Version   string
	Commit    string
	Created   string // RFC 3339: when the commit was made
	Ports     []string
	Platforms []string // linux/amd64
	MaxSize   int64    // bytes in the registry, compressed
	Attested  []string // predicate types that each platform must have a statement of, see SBOM and Provenance
}

// What a statement about an image is of, by how its predicate type begins: the version is the builder's.
const (
	SBOM       = "https://spdx.dev/Document"
	Provenance = "https://slsa.dev/provenance/"
)

// Facts is the image of one platform.
type Facts struct {
	Platform   string
	Digest     string // of its manifest
	Size       int64  // bytes in the registry, compressed
	User       string
	Entrypoint []string
	Cmd        []string
	Ports      []string
	Created    string // RFC 3339, by its configuration
	Labels     map[string]string
	Programs   []string // paths of all files that may be executed
	Machine    string   // that the entrypoint was compiled for, as Go names it
	Dynamic    bool     // the entrypoint needs a loader and libraries
	Version    string   // what its version command prints; "" where it can not be run
	Attested   []string // predicate types of the statements about it
}

// Judge names everything that is wrong with the platforms of one image. None is a good image.
func Judge(want Want, got []Facts) []string {
	var wrong []string
	platforms := make([]string, len(got))
	for i, facts := range got {
		platforms[i] = facts.Platform
		for _, fault := range judge(want, facts) {
			wrong = append(wrong, fmt.Sprintf("%s %s: %s", want.Name, facts.Platform, fault))
		}
	}
	slices.Sort(platforms)
	if wanted := slices.Sorted(slices.Values(want.Platforms)); !slices.Equal(platforms, wanted) {
		wrong = append(wrong, fmt.Sprintf("%s: platforms are %v, want %v", want.Name, platforms, wanted))
	}
	return wrong
}

func judge(want Want, got Facts) []string {
	var wrong []string
	expect := func(what, got, want string) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", what, got, want))
		}
	}
	expect("user", got.User, "65532:65532")
	expect("entrypoint", strings.Join(got.Entrypoint, " "), "/"+want.Name)
	expect("command", strings.Join(got.Cmd, " "), "serve")
	expect("ports", strings.Join(got.Ports, " "), strings.Join(want.Ports, " "))
	expect("date", got.Created, want.Created)
	expect("machine", "linux/"+got.Machine, got.Platform)
	if got.Version != "" {
		expect("version", got.Version, fmt.Sprintf("%s %s (%s)", want.Name, want.Version, want.Commit))
	}
	for _, label := range slices.Sorted(maps.Keys(labels(want))) {
		expect("label "+label, got.Labels["org.opencontainers.image."+label], labels(want)[label])
	}
	if got.Labels["org.opencontainers.image.description"] == "" {
		wrong = append(wrong, "it has no description")
	}
	if got.Dynamic {
		wrong = append(wrong, "the entrypoint needs a loader, which the image does not have")
	}
	if got.Size > want.MaxSize {
		wrong = append(wrong, fmt.Sprintf("size is %d bytes, more than %d", got.Size, want.MaxSize))
	}
	if tools := tools(got.Programs); len(tools) > 0 {
		wrong = append(wrong, fmt.Sprintf("it has %s: who breaks in finds tools", strings.Join(tools, ", ")))
	}
	for _, predicate := range want.Attested {
		if !slices.ContainsFunc(got.Attested, func(has string) bool { return strings.HasPrefix(has, predicate) }) {
			wrong = append(wrong, "no statement of type "+predicate)
		}
	}
	return wrong
}

// labels are those with a value that is known beforehand.
func labels(want Want) map[string]string {
	return map[string]string{
		"title": want.Name, "version": want.Version, "revision": want.Commit, "created": want.Created, "licenses": "Apache-2.0",
		"source": "https://github.com/rollout-monitoring/microservice_rollout_monitoring",
	}
}

// tools are shells and package managers.
func tools(programs []string) []string {
	known := []string{"ash", "bash", "dash", "sh", "zsh", "busybox", "toybox", "apk", "apt", "apt-get", "dpkg", "rpm", "python3", "perl", "curl", "wget"}
	var found []string
	for _, program := range programs {
		if slices.Contains(known, path.Base(program)) {
			found = append(found, program)
		}
	}
	return found
}

// Differences names every platform whose image two builds of one source do not agree on.
func Differences(name string, one, other []Facts) []string {
	var wrong []string
	digests := map[string]string{}
	for _, facts := range other {
		digests[facts.Platform] = facts.Digest
	}
	for _, facts := range one {
		if again := digests[facts.Platform]; again != facts.Digest {
			wrong = append(wrong, fmt.Sprintf("%s %s: built again it is %q, not %s", name, facts.Platform, again, facts.Digest))
		}
	}
	return wrong
}
