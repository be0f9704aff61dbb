package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// Where the cluster listens. Nothing but loopback and addresses of the node's
// own: a network's other machines see none of it. Ports and ranges are beside
// those that Kubernetes uses by default, for a machine that has one already.
const (
	nodeName    = "slipway"
	nodeIP      = "10.246.0.1" // on the loopback interface
	podCIDR     = "10.245.0.0/24"
	serviceCIDR = "10.97.0.0/16"
	serviceIP   = "10.97.0.1" // the API server, for pods
	dnsIP       = "10.97.0.10"

	apiPort           = "16443"
	kubeletPort       = "20250"
	kubeletHealthPort = "20248"
	proxyHealth       = "127.0.0.1:20256"
	proxyMetrics      = "127.0.0.1:20249"
	controllerPort    = "20257"
	schedulerPort     = "20259"
	metricsPort       = "20443"
	etcdClient        = "127.0.0.1:12379"
	etcdPeer          = "127.0.0.1:12380"
	registryAddress   = "127.0.0.1:15001"

	contextName = "slipway-test" // in kubeconfigs
	pauseImage  = "registry.k8s.io/pause:3.10"
	cniPlugins  = "/usr/lib/cni" // where Debian's containernetworking-plugins lie
)

// cluster is the folder that holds everything of a cluster: programs that are
// kept, and below run what lives until the cluster ends.
type cluster struct{ root string }

// locate finds the folder as e2e.Cache does: $SLIPWAY_TEST_CACHE, else
// slipway-test in the user's cache folder.
func locate() (cluster, error) {
	base := os.Getenv("SLIPWAY_TEST_CACHE")
	if base == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return cluster{}, fmt.Errorf("no folder for the cluster: %w; set SLIPWAY_TEST_CACHE", err)
		}
		base = filepath.Join(user, "slipway-test")
	}
	c := cluster{root: filepath.Join(base, "cluster")}
	if len(c.Socket()) > 100 {
		return c, fmt.Errorf("%s is too long for a socket: set SLIPWAY_TEST_CACHE to a shorter path", c.root)
	}
	return c, os.MkdirAll(c.root, 0o755)
}

func (c cluster) Run() string    { return filepath.Join(c.root, "run") }
func (c cluster) PKI() string    { return filepath.Join(c.Run(), "pki") }
func (c cluster) Socket() string { return filepath.Join(c.Run(), "containerd.sock") }

func (c cluster) bin(program string) string { return filepath.Join(c.root, "bin", program) }
func (c cluster) run(name string) string    { return filepath.Join(c.Run(), name) }
func (c cluster) kubeconfig(user string) string {
	return c.run(user + ".kubeconfig")
}

// name is the cluster's own, for what the machine's clusters share: one in
// another folder may run in another network namespace.
func (c cluster) name() string {
	sum := sha256.Sum256([]byte(c.root))
	return "slipway-test-" + hex.EncodeToString(sum[:3])
}

func (c cluster) Network() string    { return c.name() }
func (c cluster) CgroupRoot() string { return "/" + c.name() }

// The templates see the constants as methods.

func (cluster) API() string               { return nodeIP + ":" + apiPort }
func (cluster) NodeIP() string            { return nodeIP }
func (cluster) PodCIDR() string           { return podCIDR }
func (cluster) DNS() string               { return dnsIP }
func (cluster) KubeletPort() string       { return kubeletPort }
func (cluster) KubeletHealthPort() string { return kubeletHealthPort }
func (cluster) ProxyHealth() string       { return proxyHealth }
func (cluster) ProxyMetrics() string      { return proxyMetrics }
func (cluster) MetricsPort() string       { return metricsPort }
func (cluster) Registry() string          { return registryAddress }
func (cluster) Context() string           { return contextName }
func (cluster) PauseImage() string        { return pauseImage }
func (cluster) CNI() string               { return cniPlugins }
