package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/image"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/registry"
)

type imagesCmd struct {
	Built     string   `arg:"" type:"existingfile" help:"What make images wrote: build/images.json."`
	Again     string   `type:"existingfile" help:"The same of a second build, which must have given the same images."`
	Commit    string   `required:"" help:"Commit that they are of."`
	Epoch     int64    `required:"" env:"SOURCE_DATE_EPOCH" help:"When that was made, in seconds since 1970."`
	Platforms []string `default:"linux/amd64,linux/arm64" help:"That each image must be there for."`
	SBOM      bool     `name:"sbom" default:"true" negatable:"" help:"Whether a bill of materials must be there; provenance must in any case."`
}

// built is one image as bake's metadata file has it.
type built struct {
	Name   string `json:"image.name"` // registry/app:1.2.3
	Digest string `json:"containerimage.digest"`
}

func (b built) reference() string {
	name, _ := b.split()
	return name + "@" + b.Digest
}

func (b built) split() (name, tag string) {
	i := strings.LastIndex(b.Name, ":")
	return b.Name[:i], b.Name[i+1:]
}

// images checks what a build has pushed, and prints it as a table.
func (c imagesCmd) images(ctx context.Context, stdout io.Writer) error {
	one, err := metadata(c.Built)
	if err != nil {
		return err
	}
	var again map[string]built
	if c.Again != "" {
		if again, err = metadata(c.Again); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "image\tplatform\tMB\tuser\tdigest\tbuilt again\tstatements")
	var faults []string
	for _, want := range c.wanted() {
		wrong, err := c.check(ctx, table, want, one[want.Name], again[want.Name])
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		faults = append(faults, wrong...)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(faults) > 0 {
		return errors.New("images are not as they must be:\n" + strings.Join(faults, "\n"))
	}
	return nil
}

// wanted is what each image must be. Sizes are bounds with some room; docs/images.md names them.
func (c imagesCmd) wanted() []image.Want {
	attested := []string{image.Provenance}
	if c.SBOM {
		attested = append(attested, image.SBOM)
	}
	const megabyte = 1_000_000
	wants := []image.Want{
		{Name: "app", Ports: []string{"8080/tcp"}, MaxSize: 15 * megabyte},
		{Name: "gatekeeper", Ports: []string{"8080/tcp", "8081/tcp"}, MaxSize: 40 * megabyte},
		{Name: "loadgen", Ports: []string{"8080/tcp"}, MaxSize: 15 * megabyte},
	}
	for i := range wants {
		wants[i].Commit, wants[i].Created = c.Commit, time.Unix(c.Epoch, 0).UTC().Format(time.RFC3339)
		wants[i].Platforms, wants[i].Attested = c.Platforms, attested
	}
	return wants
}

func (c imagesCmd) check(ctx context.Context, table io.Writer, want image.Want, one, again built) ([]string, error) {
	if one.Digest == "" {
		return []string{want.Name + ": " + c.Built + " does not have it with a digest: only what was pushed has one"}, nil
	}
	_, want.Version = one.split()
	facts, err := registry.Read(ctx, one.reference())
	if err != nil {
		return nil, err
	}
	wrong, same := image.Judge(want, facts), "-"
	if c.Again != "" {
		other, err := registry.Read(ctx, again.reference())
		if err != nil {
			return nil, err
		}
		different := image.Differences(want.Name, facts, other)
		wrong, same = append(wrong, different...), "same digest"
		if len(different) > 0 {
			same = "differs"
		}
	}
	for _, f := range facts {
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%s\t%s\t%s\t%s\n", want.Name, f.Platform, float64(f.Size)/1e6, f.User, f.Digest, same, strings.Join(f.Attested, " "))
	}
	return wrong, nil
}

func metadata(file string) (map[string]built, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read what was built: %w", err)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("read what was built in %s: %w", file, err)
	}
	images := map[string]built{}
	for target, entry := range entries {
		var b built
		if json.Unmarshal(entry, &b) == nil && strings.Contains(b.Name, ":") { // bake also writes what is of no target
			images[target] = b
		}
	}
	return images, nil
}
