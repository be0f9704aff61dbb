package examples

import _ "embed"

// Dockerfile is docker/Dockerfile, which slipway --builder docker builds with
// where the user gives none.
//
//go:embed docker/Dockerfile
var Dockerfile []byte
