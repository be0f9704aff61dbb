// Command wrongserver is a model server with one fault, chosen when it is
// built (-ldflags "-X main.fault=…"), because an image has no other honest way
// to carry a server that fails only on the machine; built without one, it is
// chosen by $FAULT. Apart from its fault it is the real one.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// fault is one of:
//
//	miscalculates  its engine is wrong, and its own golden predictions find out
//	dies           ends before it listens
//	dies-later     ends at the third prediction it is asked for
//	dies-asked     is ready, and ends at the second prediction it is asked for, saying why
//	gobbles        takes memory until it is killed
//	never-ready    listens and never becomes ready
//	lies           is ready, and answers predictions wrongly
//	nan            is ready, and answers NaN
//	mute           is ready, and never answers a prediction
//	slow           answers rightly, each prediction after 12 s
//	sick           is ready and right, and its health check fails
//	crowded        the first that comes to the folder $PLACES is right, others end
//	late           becomes ready 6 s after it began, and is right
//	waits          becomes ready once the file $WAIT_FOR exists, and is right
var fault string

func main() {
	if fault == "" {
		fault = os.Getenv("FAULT")
	}
	model := flag.String("model", mlmodel.ImageModelDir, "")
	addr := flag.String("addr", fmt.Sprintf(":%d", mlmodel.Port), "")
	addrFile := flag.String("addr-file", "", "")
	terminationLog := flag.String("termination-log", mlmodel.TerminationLog, "")
	drain := flag.Duration("drain-delay", 5*time.Second, "")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *model, *addr, *addrFile, *drain); err != nil {
		os.WriteFile(*terminationLog, serving.LastWords(err).Encode(), 0o600)
		os.Exit(1)
	}
}

func serve(ctx context.Context, model, addr, addrFile string, drain time.Duration) error {
	if fault == "dies" || fault == "crowded" && !first(os.Getenv("PLACES")) {
		os.Stderr.WriteString("panic: out of flour\n")
		os.Exit(7)
	}
	if fault == "gobbles" {
		gobble()
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	outer, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if err := announce(addrFile, outer.Addr().String()); err != nil {
		return err
	}
	front := &http.Server{Handler: bend(ctx, inner.Addr().String()), ReadHeaderTimeout: 10 * time.Second}
	go front.Serve(outer)
	s := serving.New(serving.Config{
		Dir: model, Engines: []serving.Engine{engine()}, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
		ModelName: os.Getenv("MODEL_NAME"), ModelVersion: os.Getenv("MODEL_VERSION"), DrainDelay: drain,
	})
	err = s.Run(ctx, inner)
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	front.Shutdown(end)
	return err
}

// gobble takes memory, and uses it, until the kernel ends the process: up to
// 1 GiB, because where no limit is kept the whole machine would suffer.
func gobble() {
	var all [][]byte
	for range 128 {
		all = append(all, bytes.Repeat([]byte{1}, 8<<20))
		time.Sleep(5 * time.Millisecond)
	}
	panic(fmt.Sprintf("%d pieces of 8 MiB, and nobody minds", len(all)))
}

// announce writes the address where a supervisor looks for it. In a pod nobody
// does.
func announce(file, address string) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file+".new", []byte(address+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func engine() serving.Engine {
	if fault == "miscalculates" {
		return wrongEngine{sklearn.New()}
	}
	return sklearn.New()
}

// wrongEngine answers the rows of a batch in reverse order.
type wrongEngine struct{ serving.Engine }

func (e wrongEngine) Load(ctx context.Context, m *mlmodel.Model) (serving.Predictor, error) {
	p, err := e.Engine.Load(ctx, m)
	return wrongPredictor{p}, err
}

type wrongPredictor struct{ serving.Predictor }

func (p wrongPredictor) Predict(ctx context.Context, b *serving.Batch) (*serving.Output, error) {
	out, err := p.Predictor.Predict(ctx, b)
	if err == nil {
		spoil(out)
	}
	return out, err
}

// bend passes requests on to the real server, with the fault.
func bend(ctx context.Context, inner string) http.Handler {
	to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: inner})
	}}
	if fault == "lies" || fault == "nan" {
		to.ModifyResponse = distort
	}
	start := time.Now()
	var asked atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		predicts := r.Method == http.MethodPost
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close") // as the real server says while it drains
		}
		switch {
		case r.URL.Path == "/health" && fault == "sick":
			w.Header().Set("X-Model-Name", os.Getenv("MODEL_NAME"))
			w.Header().Set("X-Model-Version", os.Getenv("MODEL_VERSION"))
			http.Error(w, "out of breath", http.StatusServiceUnavailable)
			return
		case r.URL.Path == "/ready" && (fault == "never-ready" || fault == "late" && time.Since(start) < 6*time.Second || fault == "waits" && missing(os.Getenv("WAIT_FOR"))):
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		case predicts && fault == "dies-later" && asked.Add(1) == 3:
			os.Exit(9)
		case predicts && fault == "dies-asked" && asked.Add(1) == 2:
			os.Stderr.WriteString("panic: the oven is cold\n")
			os.Exit(7)
		case predicts && fault == "mute":
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return
		case predicts && fault == "slow":
			time.Sleep(12 * time.Second)
		}
		to.ServeHTTP(w, r)
	})
}

// first reports whether no other server came to the folder before.
func first(folder string) bool {
	me, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	file := filepath.Join(folder, "taken")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		by, err := os.ReadFile(file)
		return err == nil && string(by) == me
	}
	defer f.Close()
	_, err = f.WriteString(me)
	return err == nil
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return err != nil
}

// distort spoils the predictions of an answer.
func distort(r *http.Response) error {
	if r.Request.Method != http.MethodPost {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if fault == "nan" {
		body = []byte(`{"predictions": [NaN]}`)
	} else {
		body = bytes.ReplaceAll(body, []byte("setosa"), []byte("dahlia"))
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Del("Content-Length")
	r.TransferEncoding = nil
	if strings.Contains(r.Header.Get("Content-Encoding"), "gzip") {
		r.Header.Del("Content-Encoding")
	}
	return nil
}

func spoil(out *serving.Output) {
	for i := range out.Strings {
		out.Strings[i] = "dahlia"
	}
	for i := range out.Floats {
		out.Floats[i]++
	}
}
