package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// options are the command line and its environment.
type options struct {
	model          string
	addr           string
	addrFile       string
	terminationLog string
	drainDelay     time.Duration
	schema         string
	version        bool
	python         pythonOptions
}

// parse reads flags and, for those not given, SLIPWAY_ and the flag's name in
// capitals. The standard library's flag package is enough here: it adds
// nothing to the image.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("modelserver", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.model, "model", mlmodel.ImageModelDir, "the model `directory`")
	f.StringVar(&o.addr, "addr", fmt.Sprintf(":%d", mlmodel.Port), "the `address` to listen on")
	f.StringVar(&o.addrFile, "addr-file", "", "a `file` to write the actual address to, once listening")
	f.StringVar(&o.terminationLog, "termination-log", mlmodel.TerminationLog, "a `file` to write the reason to, when the model does not become ready")
	f.DurationVar(&o.drainDelay, "drain-delay", 5*time.Second, "how long to keep answering after SIGTERM")
	f.StringVar(&o.schema, "schema", string(serving.Strict), "strict: refuse values that do not fit the signature; mlflow: bend them as MLflow does")
	o.python.flags(f)
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := fromEnvironment(f, args, getenv); err != nil {
		fmt.Fprintln(stderr, err)
		return o, err
	}
	return o, check(o, f, stderr)
}

func fromEnvironment(f *flag.FlagSet, args []string, getenv func(string) string) error {
	var failed error
	f.VisitAll(func(g *flag.Flag) {
		name := "SLIPWAY_" + strings.ToUpper(strings.ReplaceAll(g.Name, "-", "_"))
		value := getenv(name)
		if value == "" || g.Name == "version" || failed != nil {
			return
		}
		if err := f.Set(g.Name, value); err != nil {
			failed = fmt.Errorf("%s: %w", name, err)
		}
	})
	if failed != nil {
		return failed
	}
	return f.Parse(args)
}

func check(o options, f *flag.FlagSet, stderr io.Writer) error {
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.schema != string(serving.Strict) && o.schema != string(serving.LikeMLflow):
		err = fmt.Errorf("-schema is strict or mlflow, not %q", o.schema)
	case o.drainDelay < 0 || o.drainDelay > 25*time.Second:
		err = errors.New("-drain-delay is 0 to 25 seconds: the whole drain ends inside 30")
	default:
		err = o.python.check()
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return err
}

// version is what the Go toolchain noted of the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "modelserver, unknown build"
	}
	return "modelserver " + info.Main.Version + " " + info.GoVersion
}
