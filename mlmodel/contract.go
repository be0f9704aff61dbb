// Package mlmodel reads MLflow model directories and holds the image's
// contract: what an image of Slipway carries, where, and under which names.
//
// It owns the MLmodel file, the signature, the examples and the golden
// predictions. It loads no model and talks to nobody.
package mlmodel

import (
	"bytes"
	"encoding/json"
	"maps"

	"github.com/slipway-dev/slipway"
)

// Where things are in an image.
const (
	ImageModelDir   = "/model"
	ImageReleaseDir = "/model/.slipway"
	ImageServer     = "/slipway/modelserver"
	ManifestFile    = "release.json" // in ImageReleaseDir: a Manifest
	GoldenFile      = "golden.json"  // in ImageReleaseDir: a Golden
	ReleaseDir      = ".slipway"     // the release directory's name in a model directory
	ConvertedFile   = "converted"    // in ImageReleaseDir: the model's parameters in the form its engine reads, where they are not stored so
	LockFile        = "python.lock"  // in ImageReleaseDir: the Python packages, with hashes, as pip's requirements files have them

	// ImagePackages is the site-packages folder of a Python model: beside the
	// server, so that the server finds it where an image is unpacked, too.
	ImagePackages = "/slipway/site-packages"

	Port           = 8000
	User           = 65532                  // user and group of the process in an image
	TerminationLog = "/dev/termination-log" // Kubernetes' default terminationMessagePath
)

// Labels of the image's config and annotations of its manifest.
const (
	LabelName    = "dev.slipway.model.name"
	LabelVersion = "dev.slipway.model.version"
	LabelRunID   = "dev.slipway.model.run-id"
	LabelFlavor  = "dev.slipway.model.flavor"
	LabelEngine  = "dev.slipway.model.engine"
	LabelGolden  = "dev.slipway.golden"
)

// Manifest says what an image carries. It holds nothing that differs between
// two builds of the same model: no time, no user, no release.
type Manifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	Model         slipway.ModelVersion `json:"model"`
	Engine        string               `json:"engine"`
	Golden        slipway.GoldenSource `json:"golden"`
	GoldenBy      string               `json:"goldenBy,omitempty"`
	Converted     string               `json:"converted,omitempty"` // the form of ConvertedFile: "skops"; "": there is none
	Python        *PythonRuntime       `json:"python,omitempty"`    // nil: the model is served without Python
	Proof         *Proof               `json:"proof,omitempty"`     // nil: the engine was not compared with the original library
}

// Encode returns the manifest as ManifestFile has it.
func (m Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(m)
	return b.Bytes(), err
}

// Labels returns those of the image's config, which are also the annotations
// of its manifest (OCI image specification 1.1, "Pre-Defined Annotation Keys").
// None varies between two builds of the same model.
func (m Manifest) Labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":   string(m.Model.Name),
		"org.opencontainers.image.version": string(m.Model.Version),
		LabelName:                          string(m.Model.Name),
		LabelVersion:                       string(m.Model.Version),
		LabelRunID:                         m.Model.RunID,
		LabelFlavor:                        m.Model.Flavor,
		LabelEngine:                        m.Engine,
		LabelGolden:                        string(m.Golden),
	}
	maps.DeleteFunc(labels, func(_, v string) bool { return v == "" })
	return labels
}

// PythonRuntime is what a Python model runs on.
type PythonRuntime struct {
	Version string `json:"version"`         // "3.11": the base has this python
	Batch   bool   `json:"batch,omitempty"` // requests may be answered together: it was seen to give the same answers
}

// Proof says how a native engine was compared with the library that made the
// model, over the golden requests and rows drawn from signature and example.
type Proof struct {
	Rows              int     `json:"rows"`
	LargestDifference float64 `json:"largestDifference"` // relative, of all numbers answered; 0: all equal
	By                string  `json:"by"`                // "scikit-learn 1.5.2"
}

// Golden is the golden predictions of an image.
type Golden struct {
	SchemaVersion    int                  `json:"schemaVersion"`
	Source           slipway.GoldenSource `json:"source"`
	By               string               `json:"by,omitempty"`               // who answered: "scikit-learn 1.5.2"
	Nondeterministic bool                 `json:"nondeterministic,omitempty"` // compare shape, type and finiteness only
	Tolerance        float64              `json:"tolerance"`                  // relative: 1e-9 for float64, 1e-5 for float32
	Predictions      []Prediction         `json:"predictions"`
}

// Prediction is a request and its expected answer. Request is a body for
// POST /invocations; Answer is the value of "predictions" in the reply, in
// which the numbers JSON lacks stand as the strings "NaN", "Infinity" and
// "-Infinity".
type Prediction struct {
	Request json.RawMessage `json:"request"`
	Answer  json.RawMessage `json:"answer"`
}
