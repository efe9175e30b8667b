package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// file is one file of a volume. Its mode never lets anybody but the owner in: there is no container around it.
type file struct {
	path string
	data []byte
	mode fs.FileMode
}

const (
	folderMode = 0o700
	fileMode   = 0o600
)

// volume is where a volume is on the host and what it holds. make says whether the folder is the node's to make.
type volume struct {
	dir   string
	make  bool
	files []file
}

// planVolume decides upon one volume. dir is the pod's folder for it, claims the folder of the namespace's claims.
func planVolume(pod *corev1.Pod, v *corev1.Volume, s sources, dir, claims string) (volume, error) {
	out := volume{dir: dir, make: true}
	var err error
	switch {
	case v.EmptyDir != nil:
	case v.HostPath != nil:
		out.dir, out.make = v.HostPath.Path, false
	case v.PersistentVolumeClaim != nil:
		// Kept between pods and between runs.
		out.dir = filepath.Join(claims, v.PersistentVolumeClaim.ClaimName)
	case v.ConfigMap != nil:
		out.files, err = s.configMapFiles(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		out.files, err = s.secretFiles(v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		out.files, err = downwardFiles(pod, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			files, sourceErr := s.projected(pod, source, v.Projected.DefaultMode)
			if sourceErr != nil {
				return volume{}, fmt.Errorf("volume %s: %w", v.Name, sourceErr)
			}
			out.files = append(out.files, files...)
		}
	default:
		err = fmt.Errorf("volumes of this kind can not be had here")
	}
	if err != nil {
		return volume{}, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return out, nil
}

func (s sources) projected(pod *corev1.Pod, p corev1.VolumeProjection, mode *int32) ([]file, error) {
	switch {
	case p.ConfigMap != nil:
		return s.configMapFiles(p.ConfigMap.Name, p.ConfigMap.Items, mode, p.ConfigMap.Optional)
	case p.Secret != nil:
		return s.secretFiles(p.Secret.Name, p.Secret.Items, mode, p.Secret.Optional)
	case p.DownwardAPI != nil:
		return downwardFiles(pod, p.DownwardAPI.Items, mode)
	default:
		return nil, fmt.Errorf("projections of this kind can not be had here")
	}
}

func (s sources) configMapFiles(name string, items []corev1.KeyToPath, mode *int32, optional *bool) ([]file, error) {
	m := s.configMaps[name]
	if m == nil {
		return nil, missing("configmap", name, "", isTrue(optional))
	}
	data := make(map[string][]byte, len(m.Data)+len(m.BinaryData))
	for key, value := range m.Data {
		data[key] = []byte(value)
	}
	for key, value := range m.BinaryData {
		data[key] = value
	}
	return pick("configmap "+name, data, items, mode, isTrue(optional))
}

func (s sources) secretFiles(name string, items []corev1.KeyToPath, mode *int32, optional *bool) ([]file, error) {
	m := s.secrets[name]
	if m == nil {
		return nil, missing("secret", name, "", isTrue(optional))
	}
	return pick("secret "+name, m.Data, items, mode, isTrue(optional))
}

// pick takes the named items, or all when none is named.
func pick(source string, data map[string][]byte, items []corev1.KeyToPath, mode *int32, optional bool) ([]file, error) {
	var files []file
	if len(items) == 0 {
		for _, key := range sortedKeys(data) {
			files = append(files, file{key, data[key], ownerOnly(mode, nil)})
		}
		return files, nil
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found && !optional {
			return nil, fmt.Errorf("%s has no key %q", source, item.Key)
		}
		if found {
			files = append(files, file{item.Path, value, ownerOnly(mode, item.Mode)})
		}
	}
	return files, nil
}

func downwardFiles(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) ([]file, error) {
	var files []file
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = field(pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = resourceField(pod, &corev1.Container{}, item.ResourceFieldRef)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file{item.Path, []byte(value), ownerOnly(mode, item.Mode)})
	}
	return files, nil
}

func ownerOnly(volume, item *int32) fs.FileMode {
	switch {
	case item != nil:
		return fs.FileMode(*item) & folderMode
	case volume != nil:
		return fs.FileMode(*volume) & folderMode
	default:
		return fileMode
	}
}

// write makes the volume. A ConfigMap or Secret that changes later is not written again, as a cluster would do; what
// reads its files anew must be restarted here.
func (v volume) write() error {
	if !v.make {
		return nil
	}
	if err := os.MkdirAll(v.dir, folderMode); err != nil {
		return err
	}
	for _, f := range v.files {
		path, fine := below(v.dir, f.path)
		if !fine {
			return fmt.Errorf("write %s: outside its volume", f.path)
		}
		if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.data, fileMode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// mounts are a container's, given where its volumes are.
func mounts(c *corev1.Container, volumes map[string]volume, env map[string]string) ([]mount, error) {
	var out []mount
	for _, m := range c.VolumeMounts {
		v, found := volumes[m.Name]
		if !found {
			return nil, fmt.Errorf("mount %s: no volume %q", m.MountPath, m.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expand(m.SubPathExpr, env)
		}
		host, fine := below(v.dir, sub)
		if !fine {
			return nil, fmt.Errorf("mount %s: sub-path %q leaves the volume", m.MountPath, sub)
		}
		out = append(out, mount{filepath.Clean(m.MountPath), host})
	}
	return out, nil
}
