package node

import "testing"

func TestRewrite(t *testing.T) {
	table := translation{
		mounts: []mount{{"/data", "/host/data"}, {"/data/keys", "/host/keys"}, {"/tmp", "/host/tmp"}, {"/etc/app/app.yaml", "/host/cfg/app.yaml"}},
		ports:  map[int32]int32{8080: 20001, 9090: 20002},
	}
	for name, c := range map[string]struct{ value, want string }{
		"a path in a mount is the host's":                        {"/data/x.db", "/host/data/x.db"},
		"the mount itself, too":                                  {"/data", "/host/data"},
		"with a slash at the end":                                {"/data/", "/host/data/"},
		"the longest mount wins":                                 {"/data/keys/a", "/host/keys/a"},
		"only whole elements count":                              {"/database/x", "/database/x"},
		"a single file may be mounted":                           {"/etc/app/app.yaml", "/host/cfg/app.yaml"},
		"a path not mounted stays":                               {"/etc/passwd", "/etc/passwd"},
		"after a flag's equals sign":                             {"--file=/data/x", "--file=/host/data/x"},
		"in a list":                                              {"K=/data/a:/tmp/b,/data", "K=/host/data/a:/host/tmp/b,/host/data"},
		"in the middle of another path it is something else":     {"/var/data/x", "/var/data/x"},
		"in a URL it is the server's":                            {"http://host/data/x", "http://host/data/x"},
		"in a file URL it is ours":                               {"file:///data/x?mode=ro", "file:///host/data/x?mode=ro"},
		"in a shell's words":                                     {"cat /data/x '/tmp/y'", "cat /host/data/x '/host/tmp/y'"},
		"a port to listen on":                                    {":8080", "127.0.0.1:20001"},
		"a port after a flag's equals sign":                      {"-listen=:9090", "-listen=127.0.0.1:20002"},
		"all addresses are loopback":                             {"0.0.0.0:8080", "127.0.0.1:20001"},
		"localhost is the pod":                                   {"localhost:8080", "127.0.0.1:20001"},
		"loopback is the pod":                                    {"-a=127.0.0.1:8080", "-a=127.0.0.1:20001"},
		"loopback in a URL is the pod":                           {"http://localhost:9090/metrics", "http://127.0.0.1:20002/metrics"},
		"a port that no container declares stays":                {":7070", ":7070"},
		"another host's port stays":                              {"http://web.shop:8080/", "http://web.shop:8080/"},
		"a bare number is no port":                               {"8080", "8080"},
		"a longer number is another port":                        {":80801", ":80801"},
		"a time of day is no port":                               {"at=12:8080", "at=12:8080"},
		"nothing stays nothing":                                  {"", ""},
		"the host's path is not taken for the container's again": {"/tmp/data/x", "/host/tmp/data/x"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := table.value(c.value); got != c.want {
				t.Errorf("%q became %q, want %q", c.value, got, c.want)
			}
		})
	}
}

func TestAReferenceIsNotTranslatedTwice(t *testing.T) {
	table := translation{mounts: []mount{{"/tmp", "/tmp/lab/pod"}}, ports: map[int32]int32{8080: 20001}}
	known := map[string]string{"DIR": "/tmp/lab/pod/x", "PORT": "8080"}
	if got := table.template("--dir=$(DIR)", known); got != "--dir=/tmp/lab/pod/x" {
		t.Errorf("path became %s", got)
	}
	if got := table.template("--listen=:$(PORT)", known); got != "--listen=127.0.0.1:20001" {
		t.Errorf("port became %s", got)
	}
}

func TestExpand(t *testing.T) {
	known := map[string]string{"A": "1", "B": "$(A)", "EMPTY": ""}
	for name, c := range map[string]struct{ value, want string }{
		"a reference":                        {"x$(A)y", "x1y"},
		"two references":                     {"$(A)$(A)", "11"},
		"what is put in is not expanded":     {"$(B)", "$(A)"},
		"an empty value":                     {"<$(EMPTY)>", "<>"},
		"an unknown one stays":               {"$(NO)", "$(NO)"},
		"two dollars are one":                {"$$(A)", "$(A)"},
		"two dollars and a reference":        {"$$$(A)", "$1"},
		"a dollar before something else":     {"$A", "$A"},
		"a dollar at the end":                {"1$", "1$"},
		"a reference that does not end":      {"$(A", "$(A"},
		"no reference":                       {"plain", "plain"},
		"a reference inside an unclosed one": {"$(A $(A)", "$(A $(A)"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := expand(c.value, known); got != c.want {
				t.Errorf("%q became %q, want %q", c.value, got, c.want)
			}
		})
	}
}
