package node

import (
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// place is what the host gives to a pod's processes.
type place struct {
	dir     string
	ports   map[int32]int32
	volumes map[string]volume
	env     []string
	path    string
}

// planCommand decides what is started for a container. The first word of its command names the image's entrypoint, which
// the image's program stands for. Nothing of the lab's own environment gets in but PATH.
func planCommand(pod *corev1.Pod, c *corev1.Container, i image, s sources, at place) (command, error) {
	var e environment
	e.set("PATH", at.path)
	e.set("HOME", filepath.Join(at.dir, "home"))
	e.set("TMPDIR", filepath.Join(at.dir, "tmp"))
	e.set("HOSTNAME", pod.Name)
	e.set("POD_DIR", at.dir)
	for _, port := range containerPorts(pod) {
		e.set(fmt.Sprintf("PORT_%d", port), fmt.Sprint(at.ports[port]))
	}
	// A mount's sub-path may name variables, as the container knows them.
	var plain environment
	if err := containerEnv(&plain, pod, c, s, translation{}); err != nil {
		return command{}, err
	}
	m, err := mounts(c, at.volumes, plain.values)
	if err != nil {
		return command{}, err
	}
	t := translation{m, at.ports}
	if err := containerEnv(&e, pod, c, s, t); err != nil {
		return command{}, err
	}
	run := command{binary: i.Binary, dir: at.dir}
	for _, arg := range append(tail(c.Command), c.Args...) {
		run.args = append(run.args, t.template(arg, e.values))
	}
	for _, variable := range at.env {
		name, value, _ := strings.Cut(variable, "=")
		e.set(name, value)
	}
	for _, name := range sortedKeys(i.Env) {
		e.set(name, expand(i.Env[name], e.values))
	}
	for _, arg := range i.Args {
		run.args = append(run.args, expand(arg, e.values))
	}
	run.env = e.list()
	return run, nil
}

// tail leaves out the first word and shares no memory with words.
func tail(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	return append([]string{}, words[1:]...)
}
