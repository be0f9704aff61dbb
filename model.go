package slipway

import (
	"path/filepath"
	"regexp"
	"strings"
)

// ModelName is the name of a registered model in MLflow. It may hold any
// character but '/' and ':'.
type ModelName string

// Version is MLflow's number of a model version, in decimal; for a model
// directory it is "sha-" and the first 12 hexadecimal digits of its digest.
type Version string

// ModelRef names a model the way MLflow does, or a model directory. Exactly
// one of Alias, Stage, Version and Path is set.
type ModelRef struct {
	Name    ModelName
	Alias   string  // models:/NAME@ALIAS
	Stage   string  // models:/NAME/STAGE, in MLflow's spelling: Production
	Version Version // models:/NAME/3
	Path    string  // a model directory
}

var (
	versionPattern = regexp.MustCompile(`^[0-9]{1,18}$`)
	aliasPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	stages         = []string{"Production", "Staging", "Archived", "None"}
)

// ParseModelRef parses models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/VERSION
// (MLflow 3, "Model URIs") or the path of a model directory. Stages are
// recognised in any case.
func ParseModelRef(s string) (ModelRef, error) {
	const op = "reading the model reference"
	rest, ok := strings.CutPrefix(s, "models:/")
	if !ok {
		return parsePathRef(s)
	}
	usage := "use models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/VERSION or the path of a model directory"
	name, selector, byAlias := cutSelector(rest)
	if name == "" || selector == "" || strings.ContainsAny(name, "/:") {
		return ModelRef{}, Errorf(Invalid, op, "%q names no model version", s).WithHint("%s", usage)
	}
	ref := ModelRef{Name: ModelName(name)}
	switch stage := canonicalStage(selector); {
	case byAlias && aliasPattern.MatchString(selector):
		ref.Alias = selector
	case !byAlias && versionPattern.MatchString(selector):
		ref.Version = Version(selector)
	case !byAlias && stage != "":
		ref.Stage = stage
	default:
		return ModelRef{}, Errorf(Invalid, op, "%q is no alias, stage or version", selector).WithHint("%s", usage)
	}
	return ref, nil
}

func parsePathRef(s string) (ModelRef, error) {
	if s == "" || strings.Contains(s, "://") || strings.HasPrefix(s, "runs:/") {
		return ModelRef{}, Errorf(Invalid, "reading the model reference", "%q is no model reference", s).
			WithHint("register the model first, then use models:/NAME@ALIAS, models:/NAME/STAGE or models:/NAME/VERSION")
	}
	return ModelRef{Path: filepath.Clean(s)}, nil
}

// cutSelector splits at the last '@' or '/': MLflow allows '@' in names.
func cutSelector(rest string) (name, selector string, byAlias bool) {
	i := strings.LastIndexAny(rest, "@/")
	if i < 0 {
		return rest, "", false
	}
	return rest[:i], rest[i+1:], rest[i] == '@'
}

func canonicalStage(s string) string {
	for _, stage := range stages {
		if strings.EqualFold(s, stage) {
			return stage
		}
	}
	return ""
}

// Moves reports whether the reference can point at another version later.
func (r ModelRef) Moves() bool { return r.Alias != "" || r.Stage != "" }

// Promotion returns what promotes the version, as people write it: "@champion",
// "Production", "version 3" or "a directory".
func (r ModelRef) Promotion() string {
	switch {
	case r.Alias != "":
		return "@" + r.Alias
	case r.Stage != "":
		return r.Stage
	case r.Version != "":
		return "version " + string(r.Version)
	}
	return "a directory"
}

// String returns the reference in the form ParseModelRef reads.
func (r ModelRef) String() string {
	switch {
	case r.Path != "":
		return r.Path
	case r.Alias != "":
		return "models:/" + string(r.Name) + "@" + r.Alias
	case r.Stage != "":
		return "models:/" + string(r.Name) + "/" + r.Stage
	}
	return "models:/" + string(r.Name) + "/" + string(r.Version)
}

// ModelVersion is one version of a registered model, or a model directory.
type ModelVersion struct {
	Name    ModelName `json:"name"`
	Version Version   `json:"version"`
	RunID   string    `json:"runId,omitempty"`
	ModelID string    `json:"modelId,omitempty"` // MLflow 3's logged model, "m-…"
	Flavor  string    `json:"flavor,omitempty"`  // "sklearn"; known once the MLmodel was read
	Files   Digest    `json:"files,omitempty"`   // over every file's path, size and SHA-256; known once downloaded
}

// String returns the name and number people use: "iris 3".
func (m ModelVersion) String() string { return string(m.Name) + " " + string(m.Version) }
