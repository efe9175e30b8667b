package image_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/image"
)

func want() image.Want {
	return image.Want{
		Name: "app", Version: "1.2.3", Commit: "abc", Created: "2026-01-02T03:04:05Z", Ports: []string{"8080/tcp"},
		Platforms: []string{"linux/amd64"}, MaxSize: 1000, Attested: []string{image.SBOM, image.Provenance},
	}
}

func good() image.Facts {
	return image.Facts{
		Platform: "linux/amd64", Digest: "sha256:1", Size: 1000, User: "65532:65532", Entrypoint: []string{"/app"}, Cmd: []string{"serve"},
		Ports: []string{"8080/tcp"}, Created: "2026-01-02T03:04:05Z", Programs: []string{"/app", "/usr/sbin/tzconfig"}, Machine: "amd64",
		Version: "app 1.2.3 (abc)", Attested: []string{"https://slsa.dev/provenance/v1", "https://spdx.dev/Document"},
		Labels: map[string]string{
			"org.opencontainers.image.title": "app", "org.opencontainers.image.description": "An app", "org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":  "https://github.com/rollout-monitoring/microservice_rollout_monitoring",
			"org.opencontainers.image.version": "1.2.3", "org.opencontainers.image.revision": "abc", "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
		},
	}
}

func TestJudge(t *testing.T) {
	label := func(name, value string) func(*image.Facts) {
		return func(f *image.Facts) { f.Labels["org.opencontainers.image."+name] = value }
	}
	cases := map[string]struct {
		change func(*image.Facts)
		fault  string // "" is none
	}{
		"as it must be":                           {func(*image.Facts) {}, ""},
		"of another platform it can not be run":   {func(f *image.Facts) { f.Version = "" }, ""},
		"another version was compiled in":         {func(f *image.Facts) { f.Version = "app dev (none)" }, `version is "app dev (none)", want "app 1.2.3 (abc)"`},
		"runs as root":                            {func(f *image.Facts) { f.User = "" }, `user is "", want "65532:65532"`},
		"a user by name Kubernetes can not judge": {func(f *image.Facts) { f.User = "nonroot" }, `user is "nonroot"`},
		"starts by a shell":                       {func(f *image.Facts) { f.Entrypoint = []string{"/bin/sh", "-c", "/app"} }, `entrypoint is "/bin/sh -c /app"`},
		"does not serve by itself":                {func(f *image.Facts) { f.Cmd = nil }, `command is ""`},
		"a port more":                             {func(f *image.Facts) { f.Ports = append(f.Ports, "8081/tcp") }, `ports is "8080/tcp 8081/tcp"`},
		"dated when it was built":                 {func(f *image.Facts) { f.Created = "2026-02-02T03:04:05Z" }, "date is"},
		"compiled for the builder":                {func(f *image.Facts) { f.Machine = "arm64" }, `machine is "linux/arm64", want "linux/amd64"`},
		"needs libc":                              {func(f *image.Facts) { f.Dynamic = true }, "needs a loader"},
		"one byte too large":                      {func(f *image.Facts) { f.Size++ }, "size is 1001 bytes, more than 1000"},
		"a shell":                                 {func(f *image.Facts) { f.Programs = append(f.Programs, "/bin/sh") }, "it has /bin/sh"},
		"a package manager":                       {func(f *image.Facts) { f.Programs = append(f.Programs, "/usr/bin/dpkg") }, "it has /usr/bin/dpkg"},
		"no SBOM":                                 {func(f *image.Facts) { f.Attested = f.Attested[:1] }, "no statement of type https://spdx.dev/Document"},
		"no provenance":                           {func(f *image.Facts) { f.Attested = f.Attested[1:] }, "no statement of type https://slsa.dev/provenance/"},
		"another title":                           {label("title", "loadgen"), "label title is"},
		"no description":                          {label("description", ""), "it has no description"},
		"a fork's source":                         {label("source", "https://github.com/x/y"), "label source is"},
		"another licence":                         {label("licenses", "MIT"), "label licenses is"},
		"another version":                         {label("version", "dev"), "label version is"},
		"another commit":                          {label("revision", "none"), "label revision is"},
		"labelled with when it was built":         {label("created", ""), "label created is"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			facts := good()
			facts.Labels = maps.Clone(facts.Labels)
			c.change(&facts)
			wrong := image.Judge(want(), []image.Facts{facts})
			switch {
			case c.fault == "" && len(wrong) != 0:
				t.Errorf("found %q", wrong)
			case c.fault != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], c.fault)):
				t.Errorf("found %q, want %q alone", wrong, c.fault)
			}
		})
	}
}

func TestPlatforms(t *testing.T) {
	wanted := want()
	wanted.Platforms = []string{"linux/arm64", "linux/amd64"}
	arm := good()
	arm.Platform, arm.Machine, arm.Version = "linux/arm64", "arm64", ""
	if wrong := image.Judge(wanted, []image.Facts{good(), arm}); len(wrong) != 0 {
		t.Errorf("found %q", wrong)
	}
	if wrong := image.Judge(wanted, []image.Facts{good()}); !slices.Equal(wrong, []string{"app: platforms are [linux/amd64], want [linux/amd64 linux/arm64]"}) {
		t.Errorf("found %q", wrong)
	}
	if wrong := image.Judge(wanted, nil); len(wrong) != 1 {
		t.Errorf("of no image at all: %q", wrong)
	}
}

func TestDifferences(t *testing.T) {
	other := good()
	other.Digest = "sha256:2"
	if wrong := image.Differences("app", []image.Facts{good()}, []image.Facts{good()}); len(wrong) != 0 {
		t.Errorf("found %q", wrong)
	}
	for name, again := range map[string][]image.Facts{"another digest": {other}, "a platform less": nil} {
		if wrong := image.Differences("app", []image.Facts{good()}, again); len(wrong) != 1 {
			t.Errorf("%s: found %q", name, wrong)
		}
	}
}
