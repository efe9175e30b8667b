// Package registry reads images out of a registry, and what is stated about them there.
package registry

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/image"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Read returns the images of all platforms behind a reference by digest, registry/app@sha256:…, with Docker's own
// credentials. The program of this machine's platform is run for its version.
func Read(ctx context.Context, reference string) ([]image.Facts, error) {
	facts, err := read(ctx, reference)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", reference, err)
	}
	return facts, nil
}

func read(ctx context.Context, reference string) ([]image.Facts, error) {
	ref, err := name.NewDigest(reference)
	if err != nil {
		return nil, err
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, err
	}
	if !found.MediaType.IsIndex() { // one platform, and no statements
		img, err := found.Image()
		if err != nil {
			return nil, err
		}
		facts, err := describe(ctx, img)
		return []image.Facts{facts}, err
	}
	index, err := found.ImageIndex()
	if err != nil {
		return nil, err
	}
	return all(ctx, index)
}

func all(ctx context.Context, index v1.ImageIndex) ([]image.Facts, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var facts []image.Facts
	stated := map[string][]string{} // predicate types by the digest that they are about
	for _, entry := range manifest.Manifests {
		img, err := index.Image(entry.Digest)
		if err != nil {
			return nil, err
		}
		if entry.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			about := entry.Annotations["vnd.docker.reference.digest"]
			if stated[about], err = predicates(img); err != nil {
				return nil, err
			}
			continue
		}
		one, err := describe(ctx, img)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Digest, err)
		}
		facts = append(facts, one)
	}
	for i := range facts {
		facts[i].Attested = stated[facts[i].Digest]
	}
	return facts, nil
}

func predicates(img v1.Image) ([]string, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	var types []string
	for _, layer := range manifest.Layers {
		types = append(types, layer.Annotations["in-toto.io/predicate-type"])
	}
	return types, nil
}

func describe(ctx context.Context, img v1.Image) (image.Facts, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return image.Facts{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return image.Facts{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return image.Facts{}, err
	}
	facts := image.Facts{
		Platform: config.OS + "/" + config.Architecture, Digest: digest.String(), Size: manifest.Config.Size,
		User: config.Config.User, Entrypoint: config.Config.Entrypoint, Cmd: config.Config.Cmd,
		Ports:   slices.Sorted(maps.Keys(config.Config.ExposedPorts)),
		Created: config.Created.UTC().Format(time.RFC3339), Labels: config.Config.Labels,
	}
	for _, layer := range manifest.Layers {
		facts.Size += layer.Size
	}
	if len(facts.Entrypoint) == 0 {
		return facts, errors.New("it has no entrypoint")
	}
	return facts, open(ctx, img, &facts)
}

// open looks into the image's files, and at the one that it starts.
func open(ctx context.Context, img v1.Image, facts *image.Facts) (err error) {
	dir, err := os.MkdirTemp("", "lab-image-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "entrypoint")
	files := mutate.Extract(img)
	defer files.Close()
	if facts.Programs, err = unpack(tar.NewReader(files), facts.Entrypoint[0], binary); err != nil {
		return err
	}
	if facts.Machine, facts.Dynamic, err = inspect(binary); err != nil {
		return fmt.Errorf("read entrypoint: %w", err)
	}
	if facts.Platform == runtime.GOOS+"/"+runtime.GOARCH {
		out, err := sh.Command(binary, "version").Output(ctx)
		if err != nil {
			return err
		}
		facts.Version = strings.TrimSpace(out)
	}
	return nil
}

// unpack lists what may be executed, links among it, and writes the entrypoint's file.
func unpack(files *tar.Reader, entrypoint, to string) ([]string, error) {
	var programs []string
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return programs, nil
		}
		if err != nil {
			return nil, err
		}
		file := path.Join("/", header.Name)
		if header.Typeflag == tar.TypeDir || header.Mode&0o111 == 0 {
			continue
		}
		programs = append(programs, file)
		if file == entrypoint {
			if err := write(to, files); err != nil {
				return nil, err
			}
		}
	}
}

func write(to string, content io.Reader) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// inspect says for which machine a program is, by Go's name, and whether something must be loaded beside it.
func inspect(binary string) (machine string, dynamic bool, err error) {
	file, err := elf.Open(binary)
	if err != nil {
		return "", false, err
	}
	defer file.Close()
	for _, segment := range file.Progs {
		dynamic = dynamic || segment.Type == elf.PT_INTERP
	}
	switch file.Machine {
	case elf.EM_X86_64:
		return "amd64", dynamic, nil
	case elf.EM_AARCH64:
		return "arm64", dynamic, nil
	default:
		return file.Machine.String(), dynamic, nil
	}
}
