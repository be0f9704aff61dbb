package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

// versionResult says which program this is.
type versionResult struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (versionCommand) Run(p *program) error {
	v := versionResult{programVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	return p.result(v, func(w io.Writer) { fmt.Fprintf(w, "slipway %s (%s, %s)\n", v.Version, v.Go, v.Platform) })
}

// programVersion is what the release build says, or the module's version.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
