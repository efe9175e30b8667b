package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// Entrypoint turns this process into the Prometheus or the Alertmanager that the environment names, with its arguments and
// its configuration, adapted to a place without a network of its own. It reports false when none is named; otherwise it
// returns only when that fails.
func Entrypoint(args, env []string, getenv func(string) string) (bool, error) {
	for _, server := range []struct {
		program string
		adapt   func(text []byte, folder string, at Place) ([]byte, error)
	}{
		{getenv(PrometheusEntrypoint), AdaptPrometheus},
		{getenv(AlertmanagerEntrypoint), AdaptAlertmanager},
	} {
		if server.program == "" {
			continue
		}
		args, err := adapted(args, getenv, server.adapt)
		if err != nil {
			return true, err
		}
		err = syscall.Exec(server.program, append([]string{server.program}, args...), env)
		return true, fmt.Errorf("start %s: %w", server.program, err)
	}
	return false, nil
}

// Place is what a server needs to know of the engine.
type Place struct {
	Discovery string // URL that lists all pods
	Token     string // which it wants
	Authority string // file with the certificate by which it proves itself
	Proxy     string // URL of the proxy that knows the names of Services
	Port      string // of this machine that the server has for its own
}

// adapted writes an adapted configuration beside the one that the arguments name, so that what it names by relative paths is
// found, and names it instead.
func adapted(args []string, getenv func(string) string, adapt func([]byte, string, Place) ([]byte, error)) ([]string, error) {
	api, err := clientcmd.BuildConfigFromFlags("", getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	const flag = "--config.file="
	for i, arg := range args {
		file, ok := strings.CutPrefix(arg, flag)
		if !ok {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		own := filepath.Join(filepath.Dir(file), "embedded-"+filepath.Base(file))
		if text, err = adapt(text, filepath.Dir(file), place(api, own+".ca", getenv)); err != nil {
			return nil, fmt.Errorf("adapt %s: %w", file, err)
		}
		for name, content := range map[string][]byte{own + ".ca": api.CAData, own: text} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				return nil, fmt.Errorf("write configuration: %w", err)
			}
		}
		args[i] = flag + own
		return args, nil
	}
	return nil, errors.New("start a server: there is no " + flag + "… among its arguments")
}

func place(api *rest.Config, authority string, getenv func(string) string) Place {
	return Place{
		Discovery: api.Host + discoveryPath, Token: api.BearerToken, Authority: authority, Port: getenv("PORT_9090"),
		// Either scheme lets the proxy find the names; older programs know only this one.
		Proxy: strings.Replace(getenv("HTTP_PROXY"), "socks5h://", "socks5://", 1),
	}
}

// AdaptPrometheus lets Prometheus find pods and Alertmanager here. It looks for a cluster at paths that only a container has,
// and some distributions build it without Kubernetes at all; so each kubernetes_sd_configs of role pod becomes the
// http_sd_configs that gives the same labels. All else stays as it is.
func AdaptPrometheus(text []byte, _ string, at Place) ([]byte, error) {
	// It scrapes itself by the port that it has in a container.
	text = bytes.ReplaceAll(text, []byte("localhost:9090"), []byte("localhost:"+at.Port))
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	for _, job := range maps(config["scrape_configs"]) {
		discoveries := maps(job["kubernetes_sd_configs"])
		if len(discoveries) == 0 {
			continue
		}
		for _, of := range discoveries {
			if of["role"] != "pod" {
				return nil, fmt.Errorf("job %v discovers %v; only pods are known here", job["job_name"], of["role"])
			}
		}
		delete(job, "kubernetes_sd_configs")
		job["http_sd_configs"] = []any{map[string]any{
			"url": at.Discovery, "refresh_interval": "1s", "authorization": map[string]any{"type": "Bearer", "credentials": at.Token}, "tls_config": map[string]any{"ca_file": at.Authority},
		}}
	}
	if alerting, ok := config["alerting"].(map[string]any); ok {
		for _, alertmanager := range maps(alerting["alertmanagers"]) {
			alertmanager["proxy_url"] = at.Proxy
		}
	}
	return yaml.Marshal(config)
}

// AdaptAlertmanager lets Alertmanager reach Services by their names, and find its files: in their container they are in
// /etc/alertmanager, here in folder.
func AdaptAlertmanager(text []byte, folder string, at Place) ([]byte, error) {
	text = bytes.ReplaceAll(text, []byte("/etc/alertmanager/"), []byte(folder+"/"))
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	for _, receiver := range maps(config["receivers"]) {
		for kind := range receiver {
			for _, way := range maps(receiver[kind]) {
				client, ok := way["http_config"].(map[string]any)
				if !ok {
					client = map[string]any{}
					way["http_config"] = client
				}
				client["proxy_url"] = at.Proxy
			}
		}
	}
	return yaml.Marshal(config)
}

// maps are those entries of a list that are maps; of all else there are none.
func maps(list any) []map[string]any {
	entries, _ := list.([]any)
	var found []map[string]any
	for _, entry := range entries {
		if m, ok := entry.(map[string]any); ok {
			found = append(found, m)
		}
	}
	return found
}
