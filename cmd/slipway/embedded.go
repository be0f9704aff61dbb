//go:build embedserver

package main

import "embed"

// embedded holds the model server for each platform, compressed, in a release
// build: linux/amd64 is embedded/modelserver-linux-amd64.zst.
//
//go:embed embedded/*.zst
var embedded embed.FS
