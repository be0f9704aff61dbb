// Command embed compresses a program for embedding: embed IN OUT. The same
// input gives the same output, always.
package main

import (
	"fmt"
	"os"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: embed IN OUT")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	// One goroutine, because the split between several shows in the output.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], encoder.EncodeAll(data, nil), 0o644)
}
