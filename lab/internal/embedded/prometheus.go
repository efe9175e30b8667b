package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// Entrypoint turns this process into the Prometheus program, with its arguments and a configuration that finds pods
// here. Prometheus looks for a cluster at paths that only a container has, and some distributions build it without
// Kubernetes at all; so each kubernetes_sd_configs of role pod becomes the http_sd_configs that gives the same labels.
// All else stays as it is. It returns only when that fails.
func Entrypoint(program string, args, env []string, kubeconfig string) error {
	api, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	const flag = "--config.file="
	found := false
	for i, arg := range args {
		file, ok := strings.CutPrefix(arg, flag)
		if !ok {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read Prometheus' configuration: %w", err)
		}
		// It scrapes itself by the port that it has in a container.
		text = bytes.ReplaceAll(text, []byte("localhost:9090"), []byte("localhost:"+os.Getenv("PORT_9090")))
		// Beside the original, so that what it names by relative paths is found.
		own := filepath.Join(filepath.Dir(file), "embedded-"+filepath.Base(file))
		if text, err = Adapt(text, api.Host+discoveryPath, api.BearerToken, own+".ca"); err != nil {
			return fmt.Errorf("adapt %s: %w", file, err)
		}
		if err := os.WriteFile(own+".ca", api.CAData, 0o600); err != nil {
			return fmt.Errorf("write Prometheus' configuration: %w", err)
		}
		if err := os.WriteFile(own, text, 0o600); err != nil {
			return fmt.Errorf("write Prometheus' configuration: %w", err)
		}
		args[i], found = flag+own, true
	}
	if !found {
		return errors.New("start Prometheus: there is no " + flag + "… among its arguments")
	}
	if err := syscall.Exec(program, append([]string{program}, args...), env); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}

// Adapt replaces pod discovery in a configuration by that of the URL, which wants the token and
// proves itself by the authority in a file.
func Adapt(text []byte, url, token, authority string) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	jobs, _ := config["scrape_configs"].([]any)
	for _, entry := range jobs {
		job, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		discoveries, _ := job["kubernetes_sd_configs"].([]any)
		if len(discoveries) == 0 {
			continue
		}
		for _, d := range discoveries {
			if of, _ := d.(map[string]any); of["role"] != "pod" {
				return nil, fmt.Errorf("job %v discovers %v; only pods are known here", job["job_name"], of["role"])
			}
		}
		delete(job, "kubernetes_sd_configs")
		job["http_sd_configs"] = []any{map[string]any{
			"url": url, "refresh_interval": "1s", "authorization": map[string]any{"type": "Bearer", "credentials": token}, "tls_config": map[string]any{"ca_file": authority},
		}}
	}
	return yaml.Marshal(config)
}
