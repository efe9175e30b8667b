package cluster

import (
	"context"
	"errors"
	"fmt"

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
	engine := Engine{
		Name: "existing", Access: e.Access, Needs: []string{"helm"}, Made: e.answers, Make: e.refuse, Put: e.assume,
		Upgrade: e.Access.Upgrade, Uninstall: e.Access.Uninstall,
	}
	if e.ImageCommand != "" {
		engine.Needs, engine.Put = []string{"helm", "go"}, e.put
	}
	return engine
}

func (e Existing) answers(ctx context.Context) (bool, error) {
	client, err := e.Access.Client()
	return err == nil && client.Answers(ctx) == nil, ctx.Err()
}

// refuse is what making an existing cluster comes to: it says why it did not answer.
func (e Existing) refuse(ctx context.Context) error {
	client, err := e.Access.Client()
	if err == nil {
		err = client.Answers(ctx)
	}
	if err != nil {
		return fmt.Errorf("reach the cluster (start it, set KUBECONFIG, or give --kubeconfig and --context): %w", err)
	}
	return nil
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
	binary, digest, err := e.Build(ctx, image)
	if err != nil {
		return "", err
	}
	name, err := e.ImageName(image, digest)
	if err != nil {
		return "", err
	}
	pack := sh.Command("sh", "-c", e.ImageCommand)
	pack.Env = []string{"IMAGE=" + name, "BINARY=" + binary, "ENTRYPOINT=/" + image.Name, "TAR=" + binary + ".tar"}
	if err := pack.Run(ctx); err != nil {
		return "", fmt.Errorf("make image %s with --image-command: %w", name, err)
	}
	return name, nil
}
