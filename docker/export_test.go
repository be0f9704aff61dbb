package docker

import (
	"context"
	"io"
)

// What is tested without an engine.
var (
	Plain    = plain
	Overdue  = overdue
	NewName  = newName
	DriverOf = driverOf
	DigestOf = digestOf
)

// Failure is what docker's words mean.
func Failure(op, said string) error { return failure(op, said, nil) }

// StepFailure is the same, of a build with the Dockerfile.
func StepFailure(op, said, dockerfile string) error { return failure(op, said, []byte(dockerfile)) }

// Settings are those of an image, as `docker image inspect` tells them.
type Settings = settings

// CheckSettings is what Inspect makes of them.
func CheckSettings(s Settings) error { return s.check() }

// CheckContent is what Inspect makes of the archives that docker cp gives of
// the model's folder and of the model server; nil: there is none.
func CheckContent(want Contract, model, server io.Reader) error {
	inModel, inServer := map[string]found{}, map[string]found{}
	if err := readFiles(model, "model", inModel); err != nil {
		return err
	}
	if err := readFiles(server, "modelserver", inServer); err != nil {
		return err
	}
	if err := want.checkModel(inModel); err != nil {
		return err
	}
	return want.checkServer(inServer)
}

// SaveFrom is Save of what docker save would give.
func SaveFrom(ctx context.Context, r io.Reader, id, dir, compression string, annotations map[string]string) error {
	return saveFrom(ctx, func(read func(io.Reader) error) error { return read(r) }, id, dir, compression, annotations)
}

// Watch returns whether the log of a model server with so many golden
// predictions says that it is ready, and else why it ended.
func Watch(golden int, log string) (ready bool, why string) {
	w := &watch{golden: golden, ready: func() {}}
	said := &told{lines: w.line}
	_, _ = said.Write([]byte(log))
	return w.isReady(), w.why()
}

// Arguments are those of a build.
func Arguments(b Build, environ []string) []string { return b.arguments("NAME", environ) }

// OpenLayers are the arguments that a build by a builder of the driver gets for
// its layers, the folder it writes, and what happens after it.
func OpenLayers(driver, cache string) (arguments []string, fresh string, keep func() error, end func(), err error) {
	l, err := (&Client{driver: driver, cache: cache}).openLayers("linux/amd64")
	if l != nil {
		fresh = l.fresh
	}
	return l.arguments(), fresh, l.keep, l.close, err
}

// Own reports whether a container does not get the variable.
func Own(name string) bool { return own(name) }

// FileFailure is what an error of the file system means.
func FileFailure(op string, err error) error { return fileFailure(op, err) }
