//go:build !embedserver

package main

import "embed"

// embedded is empty in a development build: the model server is found beside
// the program or built on the spot.
var embedded embed.FS
