// Command distribution serves github.com/distribution/distribution, the
// reference image registry, on a loopback port until its standard input ends.
// Tests push to it what they push elsewhere to fakes.
//
// It is a Go module of its own, so that none of the image registry's
// dependencies become dependencies of the product.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/sirupsen/logrus"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	root := flag.String("root", "", "folder of the blobs; removed at the end (default: a temporary one)")
	htpasswd := flag.String("htpasswd", "", "bcrypt htpasswd file; asks for Basic credentials")
	readOnly := flag.Bool("read-only", false, "refuse every push")
	flag.Parse()
	if *root == "" {
		dir, err := os.MkdirTemp("", "image-registry-")
		if err != nil {
			return err
		}
		*root = dir
	}
	defer os.RemoveAll(*root)
	logrus.SetLevel(logrus.PanicLevel)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	app := handlers.NewApp(context.Background(), settings(*root, *htpasswd, *readOnly))
	server := &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		io.Copy(io.Discard, os.Stdin) // whoever started us is gone
		server.Close()
	}()
	fmt.Println(listener.Addr())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func settings(root, htpasswd string, readOnly bool) *configuration.Configuration {
	c := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": root, "maxthreads": 100},
			"delete":     {"enabled": true},
			"maintenance": {
				"uploadpurging": map[any]any{"enabled": false},
				"readonly":      map[any]any{"enabled": readOnly},
			},
		},
	}
	c.Catalog.MaxEntries = 1000
	c.HTTP.Secret = "only for tests"
	c.Log.Level = "panic" // tests bring about every error it would log
	c.Log.AccessLog.Disabled = true
	if htpasswd != "" {
		c.Auth = configuration.Auth{"htpasswd": {"realm": "tests", "path": htpasswd}}
	}
	return c
}
