// Package mlmodel reads MLflow model directories and holds the image's
// contract: what an image of Slipway carries, where, and under which names.
//
// It owns the MLmodel file, the signature, the examples and the golden
// predictions. It loads no model and talks to nobody.
package mlmodel

import (
	"encoding/json"

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
