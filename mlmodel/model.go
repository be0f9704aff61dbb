package mlmodel

// Model is an MLflow model directory that was read.
type Model struct {
	Dir string
}
