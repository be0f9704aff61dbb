package docker

import (
	"context"
	_ "embed"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

//go:embed relay.py
var relaySource string

// Worker returns a docker that runs the command in a container of the image,
// and what ends that container for sure. The command's program is one of the
// image, and has to be Python; its one extra file, descriptor 3, is a socket
// whose other end speaks with the program in the container, by way of docker's
// own stdin and stdout. The container gets the command's environment, not that
// of the limits. When this process dies, docker's stdin ends and with it the
// container.
func (c *Client) Worker(ctx context.Context, image Image, cmd *exec.Cmd, l Limits) (wrapped *exec.Cmd, end func()) {
	name := newName(containerPrefix, time.Now().Add(leftover))
	l.Env = cmd.Env
	args := append([]string{"run", "--interactive"}, c.limitArguments(name, l)...)
	args = append(args, "--entrypoint", filepath.Base(cmd.Args[0]), image.Name, "-I", "-B", "-c", relaySource)
	wrapped = exec.Command(c.program, append(args, cmd.Args[1:]...)...)
	wrapped.Env = slices.Concat(c.environ, l.environ())
	wrapped.Stdin, wrapped.Stdout, wrapped.Stderr = cmd.ExtraFiles[0], cmd.ExtraFiles[0], cmd.Stderr
	wrapped.SysProcAttr = cmd.SysProcAttr
	return wrapped, sync.OnceFunc(func() { c.removeContainer(ctx, name) })
}
