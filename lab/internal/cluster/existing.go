package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Existing is a cluster that is there already: the one of the current kubeconfig, or of Access.
type Existing struct {
	Source
	Access       Access
	ImageCommand string // makes and loads one image, see put; "" means that the registry has them all
	Tag          string // of the images in the registry that are not versions of the app
}

// Engine returns the way to this cluster.
func (e Existing) Engine() Engine {
	engine := Engine{Name: "existing", Access: e.Access, Made: e.answers, Make: e.refuse, Put: e.assume}
	if e.ImageCommand != "" {
		engine.Needs, engine.Put = []string{"go"}, e.put
	}
	return engine
}

func (e Existing) answers(ctx context.Context) (bool, error) {
	err := e.Access.Kubectl("get", "--raw", "/readyz", "--request-timeout", "10s").Run(ctx)
	return err == nil, ctx.Err()
}

// refuse is what making an existing cluster comes to: it says why it did not answer.
func (e Existing) refuse(ctx context.Context) error {
	err := e.Access.Kubectl("get", "--raw", "/readyz", "--request-timeout", "10s").Run(ctx)
	if err == nil {
		return nil
	}
	return fmt.Errorf("reach the cluster (start it, set KUBECONFIG, or give --kubeconfig and --context): %w", err)
}

// assume takes an image for granted: what is not in the registry shows when its pod starts.
func (e Existing) assume(_ context.Context, image Image) (string, error) {
	switch {
	case image.Tag != "":
		return e.name(image.Name, image.Tag), nil
	case e.Tag != "":
		return e.name(image.Name, e.Tag), nil
	default:
		return "", errors.New("no tag for image " + image.Name + ": give --tag for images in the registry, or --image-command to build them")
	}
}

// put builds a static binary and hands it to the image command, which finds in its environment IMAGE, the name the
// image must get; BINARY, the file; ENTRYPOINT, the path it must have in the image; TAR, a file it may use.
func (e Existing) put(ctx context.Context, image Image) (string, error) {
	build, err := filepath.Abs(e.path("build", "images"))
	if err != nil {
		return "", fmt.Errorf("find build folder: %w", err)
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		return "", fmt.Errorf("make build folder: %w", err)
	}
	binary := filepath.Join(build, image.Name+"-"+image.Version)
	compile := sh.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+image.Version+" -X main.commit="+e.Commit, "-o", binary, ".")
	compile.Dir = e.path(image.Folder)
	compile.Env = []string{"CGO_ENABLED=0", "GOWORK=off"}
	if err := compile.Run(ctx); err != nil {
		return "", fmt.Errorf("build %s %s: %w", image.Name, image.Version, err)
	}
	tag := image.Tag
	if tag == "" {
		digest, err := fileDigest(binary)
		if err != nil {
			return "", err
		}
		if tag, err = contentTag(digest); err != nil {
			return "", err
		}
	}
	name := e.name(image.Name, tag)
	pack := sh.Command("sh", "-c", e.ImageCommand)
	pack.Env = []string{"IMAGE=" + name, "BINARY=" + binary, "ENTRYPOINT=/" + image.Name, "TAR=" + binary + ".tar"}
	if err := pack.Run(ctx); err != nil {
		return "", fmt.Errorf("make image %s with --image-command: %w", name, err)
	}
	return name, nil
}

func fileDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}
