// Package examples holds what people copy, and the three model versions of
// slipway demo.
package examples

import "embed"

// Models holds the demo's model directories, demo/models/iris-1 to iris-3, as
// MLflow wrote them.
//
//go:embed demo/models
var Models embed.FS
