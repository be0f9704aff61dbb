package uv

import "context"

// Compile compiles a site in n processes.
func Compile(ctx context.Context, c *Client, dir string, python Interpreter, n int) error {
	files, err := sources(dir)
	if err != nil {
		return err
	}
	for _, share := range shares(files, n) {
		if err := c.compileShare(ctx, "compiling", dir, python, share); err != nil {
			return err
		}
	}
	return nil
}

// PipAsUV is the environment with PIP_* in uv's words.
var PipAsUV = fromPip

// Failure says what uv's words mean.
func Failure(stderr string, r Request) error { return failure("resolving", stderr, r) }

// Redact takes the secrets of the environment out of a text.
func Redact(environ []string, text string) string { return newEnvironment(environ).redact(text) }

// ParsePins reads what uv wrote.
func ParsePins(text string) ([]Package, error) { return parsePins("reading", text) }

// ReadRecord reads a RECORD file.
var ReadRecord = readRecord

// SourceOf returns the source of a bytecode file.
var SourceOf = sourceOf

// Slim takes out of a site what is not needed.
var Slim = slim
