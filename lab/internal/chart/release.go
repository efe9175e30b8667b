// Package chart says which chart is to be installed with which values: as arguments for the helm command, or rendered
// by Helm's own libraries where there is no helm.
package chart

// Release is a chart as it is to be installed. The zero value of each field but Name, Namespace and Chart is useful.
type Release struct {
	Name, Namespace string
	Chart           string   // folder or archive, or a name in Repository
	Repository      string   // URL, "" for a folder or an archive
	Version         string   // of a chart in a repository
	Values          []string // files, the last one wins
	Sets            []string // key=value, taken as text
	JSON            []string // key=value, the value in JSON
}

// Args are the arguments of helm that install the release or upgrade it.
func (r Release) Args() []string {
	args := []string{"upgrade", "--install", r.Name, r.Chart}
	if r.Repository != "" {
		args = append(args, "--repo", r.Repository, "--version", r.Version)
	}
	args = append(args, "--namespace", r.Namespace)
	for _, file := range r.Values {
		args = append(args, "--values", file)
	}
	for _, set := range r.Sets {
		args = append(args, "--set-string", set)
	}
	for _, set := range r.JSON {
		args = append(args, "--set-json", set)
	}
	return args
}
