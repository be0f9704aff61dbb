// Command wrong is a model server that becomes ready and answers wrongly: what
// the golden predictions asked from outside are for. The bench measures how
// long such a server's answers reach clients.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	model := flag.String("model", mlmodel.ImageModelDir, "")
	addr := flag.String("addr", "", "")
	addrFile := flag.String("addr-file", "", "")
	flag.String("termination-log", "", "")
	flag.Duration("drain-delay", time.Second, "")
	flag.Parse()
	data, err := os.ReadFile(filepath.Join(*model, mlmodel.ReleaseDir, mlmodel.ManifestFile))
	if err != nil {
		return err
	}
	var manifest mlmodel.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*addrFile+".new", []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(*addrFile+".new", *addrFile); err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Model-Name", string(manifest.Model.Name))
		w.Header().Set("X-Model-Version", string(manifest.Model.Version))
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			fmt.Fprint(w, `{"predictions": ["a wrong answer"]}`)
		}
	}))
}
