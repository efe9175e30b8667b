package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func samplePod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-1", Namespace: "shop", UID: "u1",
			Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"prometheus.io/port": "8080"},
		},
		Spec: corev1.PodSpec{NodeName: "laptop", ServiceAccountName: "web", Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{
				Limits:   corev1.ResourceList{"memory": resource.MustParse("64Mi")},
				Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")},
			},
		}}},
	}
}

func sampleSources() sources {
	return sources{
		map[string]*corev1.ConfigMap{"settings": {Data: map[string]string{"mode": "fast", "addr": ":8080"}}},
		map[string]*corev1.Secret{"keys": {Data: map[string][]byte{"token": []byte("s3cret")}}},
	}
}

func ref(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func TestPlanCommand(t *testing.T) {
	name := func(n string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: n} }
	key := func(n, k string, optional *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: name(n), Key: k, Optional: optional}}
	}
	for what, c := range map[string]struct {
		change func(*corev1.Container)
		image  image
		args   string
		// env is what must be set, "" for what must not be.
		env map[string]string
	}{
		"the command's first word is the image's program": {
			change: func(c *corev1.Container) { c.Command, c.Args = []string{"/bin/web", "-a"}, []string{"-b"} },
			args:   "-a -b",
		},
		"the image's arguments come last": {
			change: func(c *corev1.Container) { c.Args = []string{"-b"} },
			image:  image{Args: []string{"-port=$(PORT_8080)"}},
			args:   "-b -port=20001",
		},
		"arguments refer to variables": {
			change: func(c *corev1.Container) {
				c.Env, c.Args = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2"}}, []string{"$(B) $$(B) $(C)"}
			},
			args: "12 $(B) $(C)",
		},
		"a mounted path is the host's in arguments and variables": {
			change: func(c *corev1.Container) {
				c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/web"}, {Name: "data", MountPath: "/etc/web.yaml", SubPath: "web.yaml"}}
				c.Args, c.Env = []string{"--db=/var/lib/web/x.db", "/etc/web.yaml"}, []corev1.EnvVar{{Name: "DB", Value: "/var/lib/web"}}
			},
			args: "--db=/vol/data/x.db /vol/data/web.yaml",
			env:  map[string]string{"DB": "/vol/data"},
		},
		"the pod's fields": {
			change: func(c *corev1.Container) {
				for _, f := range []string{"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels['app']", "metadata.annotations['prometheus.io/port']", "status.podIP", "spec.nodeName", "spec.serviceAccountName"} {
					c.Env = append(c.Env, corev1.EnvVar{Name: f, ValueFrom: ref(f)})
				}
			},
			env: map[string]string{
				"metadata.name": "web-1", "metadata.namespace": "shop", "metadata.uid": "u1", "metadata.labels['app']": "web",
				"metadata.annotations['prometheus.io/port']": "8080", "status.podIP": "127.0.0.1", "spec.nodeName": "laptop", "spec.serviceAccountName": "web",
			},
		},
		"ConfigMaps and Secrets": {
			change: func(c *corev1.Container) {
				c.EnvFrom = []corev1.EnvFromSource{{Prefix: "CFG_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: name("settings")}}}
				c.Env = []corev1.EnvVar{
					{Name: "MODE", ValueFrom: key("settings", "mode", nil)},
					{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: name("keys"), Key: "token"}}},
					{Name: "NONE", ValueFrom: key("settings", "none", new(true))},
					{Name: "GONE", ValueFrom: key("gone", "none", new(true))},
				}
			},
			env: map[string]string{"CFG_mode": "fast", "CFG_addr": "127.0.0.1:20001", "MODE": "fast", "TOKEN": "s3cret", "NONE": "", "GONE": ""},
		},
		"resources": {
			change: func(c *corev1.Container) {
				c.Env = []corev1.EnvVar{
					{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
					{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.cpu"}}},
				}
			},
			env: map[string]string{"MEM": "64", "CPU": "1"},
		},
		"what the node adds, over the container's own": {
			change: func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "KUBECONFIG", Value: "mine"}} },
			image:  image{Env: map[string]string{"K": "$(KUBECONFIG)"}},
			env: map[string]string{
				"PATH": "/bin", "HOME": "/pod/home", "TMPDIR": "/pod/tmp", "HOSTNAME": "web-1", "POD_DIR": "/pod", "PORT_8080": "20001",
				"KUBECONFIG": "/kube=config", "K": "/kube=config", "USER": "", "LANG": "",
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			pod := samplePod()
			if c.change != nil {
				c.change(&pod.Spec.Containers[0])
			}
			at := place{dir: "/pod", ports: map[int32]int32{8080: 20001}, volumes: map[string]volume{"data": {dir: "/vol/data"}}, env: []string{"KUBECONFIG=/kube=config"}, path: "/bin"}
			got, err := planCommand(pod, &pod.Spec.Containers[0], c.image, sampleSources(), at)
			if err != nil {
				t.Fatal(err)
			}
			if args := strings.Join(got.args, " "); args != c.args {
				t.Errorf("arguments %q, want %q", args, c.args)
			}
			for name, want := range c.env {
				at := slices.IndexFunc(got.env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
				if want == "" && at >= 0 || want != "" && (at < 0 || got.env[at] != name+"="+want) {
					t.Errorf("%s is not %q in %q", name, want, got.env)
				}
			}
		})
	}
}

func TestAMissingSourceNamesItself(t *testing.T) {
	pod := samplePod()
	c := &pod.Spec.Containers[0]
	for want, env := range map[string]corev1.Container{
		`configmap "no" not found`:          {EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}}}}},
		`secret "keys" has no key "x"`:      {Env: []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "x"}}}}},
		`field "spec.no" is not known`:      {Env: []corev1.EnvVar{{Name: "A", ValueFrom: ref("spec.no")}}},
		`no volume "no"`:                    {VolumeMounts: []corev1.VolumeMount{{Name: "no", MountPath: "/x"}}},
		`sub-path "../x" leaves the volume`: {VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/x", SubPath: "../x"}}},
	} {
		c.Env, c.EnvFrom, c.VolumeMounts = env.Env, env.EnvFrom, env.VolumeMounts
		_, err := planCommand(pod, c, image{}, sampleSources(), place{volumes: map[string]volume{"data": {dir: "/vol/data"}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestVolumes(t *testing.T) {
	dir := t.TempDir()
	at := func(v corev1.VolumeSource) (volume, error) {
		return planVolume(samplePod(), &corev1.Volume{Name: "v", VolumeSource: v}, sampleSources(), filepath.Join(dir, "v"), filepath.Join(dir, "claims"))
	}
	settings := corev1.LocalObjectReference{Name: "settings"}
	for name, c := range map[string]struct {
		source corev1.VolumeSource
		dir    string
		// files are path:mode:content.
		files []string
	}{
		"a ConfigMap, all keys": {
			corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: settings, DefaultMode: new(int32(0o644))}},
			dir + "/v",
			[]string{"addr:-rw-------::8080", "mode:-rw-------:fast"},
		},
		"a Secret's item, in a folder, with its mode for the owner": {
			corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "keys", Items: []corev1.KeyToPath{{Key: "token", Path: "a/b", Mode: new(int32(0o555))}}}},
			dir + "/v",
			[]string{"a/b:-r-x------:s3cret"},
		},
		"several sources in one": {
			corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
			}}},
			dir + "/v",
			[]string{"token:-rw-------:s3cret", `labels:-rw-------:app="web"`},
		},
		"an optional ConfigMap that is not there is empty": {
			corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}, Optional: new(true)}}, dir + "/v", nil,
		},
		"an empty folder": {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, dir + "/v", nil},
		"a claim is the namespace's, not the pod's": {
			corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "state"}}, dir + "/claims/state", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := at(c.source)
			if err == nil {
				err = v.write()
			}
			if err != nil {
				t.Fatal(err)
			}
			if v.dir != c.dir {
				t.Errorf("folder %s, want %s", v.dir, c.dir)
			}
			if info, err := os.Stat(v.dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("folder: %v, %v", info, err)
			}
			for _, want := range c.files {
				path, want, _ := strings.Cut(want, ":")
				info, err := os.Stat(filepath.Join(v.dir, path))
				if err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(filepath.Join(v.dir, path))
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().String() + ":" + string(text); got != want {
					t.Errorf("%s is %s, want %s", path, got, want)
				}
			}
		})
	}
	if v, err := at(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/x"}}); err != nil || v.dir != "/var/x" || v.make {
		t.Errorf("a path of the host: %+v, %v", v, err)
	}
	if _, err := at(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}}}); err == nil {
		t.Error("a ConfigMap that is not there was not missed")
	}
	if err := (volume{dir: dir + "/w", make: true, files: []file{{path: "../out"}}}).write(); err == nil {
		t.Error("a file was written outside its volume")
	}
}

func TestPortsAreWrittenWhereOthersLookForThem(t *testing.T) {
	pod := samplePod()
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 9090, HostPort: 1}, {ContainerPort: 8080}}})
	if got := containerPorts(pod); !slices.Equal(got, []int32{8080, 9090}) {
		t.Fatalf("ports %v", got)
	}
	if got := fixedPorts(pod); len(got) != 1 || got[9090] != 1 {
		t.Errorf("the ports it asks for itself are %v", got)
	}
	writePorts(pod, map[int32]int32{8080: 20001, 9090: 20002})
	if a, b := pod.Spec.Containers[0].Ports[0].HostPort, pod.Spec.Containers[1].Ports[0].HostPort; a != 20001 || b != 20002 {
		t.Errorf("host ports %d and %d", a, b)
	}
	if got := pod.Annotations["prometheus.io/port"]; got != "20001" {
		t.Errorf("prometheus.io/port is %s", got)
	}
}

func TestImagesAreFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ghcr.io%2Fa%2Fweb:1.json"), []byte(`{"binary":"/bin/web","args":["x"],"env":{"A":"b"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readImage(dir, "ghcr.io/a/web:1"); err != nil || got.Binary != "/bin/web" || got.Args[0] != "x" || got.Env["A"] != "b" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := readImage(dir, "ghcr.io/a/web:2"); err == nil || !strings.Contains(err.Error(), "ghcr.io/a/web:2") {
		t.Errorf("missing image: %v", err)
	}
}
