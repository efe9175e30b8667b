package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine has these programs on its PATH, and nothing in a place of our own.
func machine(t *testing.T, programs map[string]string) Finder {
	t.Helper()
	bin := t.TempDir()
	for name, body := range programs {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	return Finder{Dir: t.TempDir(), Say: func(text string) { t.Log(text) }, Env: func(string) string { return bin }, Usual: []string{}}
}

const (
	// downloads is an apt-get that has the packages, as archives that unpacks understands.
	downloads = `for last; do :; done; case "$*" in *download*) touch "${last}_1.0_all.deb";; esac`
	unpacks   = `to=$3; case "$2" in */nginx_*) mkdir -p $to/usr/sbin; p=$to/usr/sbin/nginx; printf '#!/bin/sh\n' >$p; chmod +x $p;;
*/prometheus_*) mkdir -p $to/usr/bin; for n in prometheus promtool; do printf '#!/bin/sh\n' >$to/usr/bin/$n; chmod +x $to/usr/bin/$n; done;; esac`
)

func TestWhatIsThereIsNotFetched(t *testing.T) {
	f := machine(t, map[string]string{"nginx": "", "prometheus": "", "promtool": "", "apt-get": "echo called; exit 1", "dpkg-deb": ""})
	if err := f.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, missing := f.Find(); len(missing) > 0 || filepath.Base(got.NGINX) != "nginx" || filepath.Base(got.Promtool) != "promtool" {
		t.Errorf("found %+v, missing %v", got, missing)
	}
}

func TestWhatIsMissingIsUnpackedIntoTheFolder(t *testing.T) {
	f := machine(t, map[string]string{"apt-get": downloads, "dpkg-deb": unpacks})
	said := ""
	f.Say = func(text string) { said += text }
	if err := f.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, missing := f.Find()
	if len(missing) > 0 || !strings.HasPrefix(got.NGINX, f.Dir) || !strings.HasPrefix(got.Prometheus, f.Dir) {
		t.Errorf("found %+v, missing %v", got, missing)
	}
	if !strings.Contains(said, "nginx, prometheus, promtool not found: fetching") {
		t.Errorf("it must say what it fetches, said %q", said)
	}
}

func TestWhatCanNotBeHadIsOneClearLine(t *testing.T) {
	for name, c := range map[string]struct {
		programs map[string]string
		want     string
	}{
		"no package manager": {nil, "nginx, prometheus, promtool not found and not to be had here: install the packages nginx and prometheus, then start again (there is neither apt-get nor brew)"},
		"no package in the lists": {
			map[string]string{"apt-get": "echo E: Unable to locate package nginx; exit 100", "dpkg-deb": ""},
			"then start again (E: Unable to locate package nginx)",
		},
		"no right to install": {
			map[string]string{"brew": "echo brew: you may not write here; exit 1"},
			"install the packages nginx and prometheus, then start again (brew: you may not write here)",
		},
		"a library is missing": {
			map[string]string{"apt-get": downloads, "dpkg-deb": strings.Replace(unpacks, `'#!/bin/sh\n' >$p`, `'#!/bin/sh\necho libpcre2 is missing; exit 127\n' >$p`, 1)},
			"nginx does not run: install the package nginx, then start again (libpcre2 is missing)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := machine(t, c.programs).Fetch(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, c.want)
			}
		})
	}
}
