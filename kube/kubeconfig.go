package kube

import (
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/slipway-dev/slipway"
)

// callLimit bounds one call to the API server. A rollout has minutes, and must
// not spend them on a connection that leads nowhere.
const callLimit = 10 * time.Second

// restConfig finds out how to reach the cluster the way kubectl does: from
// KUBECONFIG, else ~/.kube/config, else from the pod this runs in. The context
// is the reference's, else the current one.
func restConfig(cfg Config) (*rest.Config, error) {
	silence()
	config := cfg.Rest
	if cfg.Found != nil {
		config = cfg.Found.config()
	}
	if config == nil {
		var err error
		if config, err = loadConfig(cfg); err != nil {
			return nil, err
		}
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = perSecond, atOnce
	config.UserAgent = Manager
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json" // half the work for both sides
	config.Timeout = callLimit
	config.WarningHandler = rest.NoWarnings{} // they are about manifests, and for those who write them
	return config, nil
}

// silence keeps client-go from writing to standard error what it returns as
// errors, too.
var silence = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })

func loadConfig(cfg Config) (*rest.Config, error) {
	const op = "reading the kubeconfig"
	rules := &clientcmd.ClientConfigLoadingRules{}
	if list := cfg.Getenv("KUBECONFIG"); list != "" {
		rules.Precedence = filepath.SplitList(list)
	} else if home := cfg.Getenv("HOME"); home != "" {
		rules.Precedence = []string{filepath.Join(home, ".kube", "config")}
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: cfg.Ref.Query.Get("context")}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, (&slipway.Error{Op: op, Code: slipway.Invalid, Err: err}).
			WithHint("set KUBECONFIG, or name a context: %s?context=NAME", cfg.Ref.String())
	}
	return config, nil
}

// perSecond and atOnce are how many calls a second, and how many at once, the API
// server is asked at most: a rollout is watched closely, for a minute or so.
const perSecond, atOnce = 50, 100
