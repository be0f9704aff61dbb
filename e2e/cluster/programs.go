package main

import "runtime"

// program is one process of the cluster: a file in the cluster's bin folder
// (or, with a path, the machine's) and its arguments.
type program struct {
	name string
	path string // "": in the bin folder, under its name
	args []string
}

// programs are all that run when the cluster does, in the order of their needs.
func (c cluster) programs() []program {
	return []program{
		c.registry(), c.containerd(), c.etcd(), c.apiServer(), c.controllerManager(), c.scheduler(),
		c.kubelet(), c.kubeProxy(), c.metricsServer(),
	}
}

func (c cluster) registry() program {
	return program{name: "registry", args: []string{
		registryAddress, c.run("registry"), c.bin("pause"), runtime.GOARCH, "pause:3.10",
	}}
}

func (c cluster) containerd() program {
	return program{name: "containerd", path: "containerd", args: []string{"--config", c.run("containerd.toml")}}
}

// etcd does not wait for the disk: what it holds ends with the cluster.
func (c cluster) etcd() program {
	return program{name: "etcd", args: []string{
		"--data-dir=" + c.run("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://" + etcdClient, "--advertise-client-urls=http://" + etcdClient,
		"--listen-peer-urls=http://" + etcdPeer, "--initial-advertise-peer-urls=http://" + etcdPeer,
		"--initial-cluster=default=http://" + etcdPeer,
	}}
}

func (c cluster) apiServer() program {
	pki := func(name string) string { return c.PKI() + "/" + name }
	return program{name: "kube-apiserver", args: []string{
		"--etcd-servers=http://" + etcdClient, "--service-cluster-ip-range=" + serviceCIDR,
		"--bind-address=" + nodeIP, "--advertise-address=" + nodeIP, "--secure-port=" + apiPort,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--client-ca-file=" + pki("ca.crt"),
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("tokens.key"), "--service-account-signing-key-file=" + pki("tokens.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + pki("apiserver-to-kubelet.crt"), "--kubelet-client-key=" + pki("apiserver-to-kubelet.key"),
		// The aggregation layer, for metrics-server.
		"--enable-aggregator-routing=true", "--requestheader-client-ca-file=" + pki("ca.crt"),
		"--requestheader-allowed-names=front-proxy", "--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki("front-proxy.crt"), "--proxy-client-key-file=" + pki("front-proxy.key"),
	}}
}

func (c cluster) controllerManager() program {
	return program{name: "kube-controller-manager", args: []string{
		"--kubeconfig=" + c.kubeconfig("kube-controller-manager"), "--leader-elect=false",
		"--authentication-kubeconfig=" + c.kubeconfig("kube-controller-manager"),
		"--authorization-kubeconfig=" + c.kubeconfig("kube-controller-manager"),
		"--bind-address=127.0.0.1", "--secure-port=" + controllerPort, "--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.PKI() + "/tokens.key", "--root-ca-file=" + c.PKI() + "/ca.crt",
	}}
}

func (c cluster) scheduler() program {
	return program{name: "kube-scheduler", args: []string{
		"--kubeconfig=" + c.kubeconfig("kube-scheduler"), "--leader-elect=false",
		"--authentication-kubeconfig=" + c.kubeconfig("kube-scheduler"),
		"--authorization-kubeconfig=" + c.kubeconfig("kube-scheduler"),
		"--bind-address=127.0.0.1", "--secure-port=" + schedulerPort,
	}}
}

func (c cluster) kubelet() program {
	return program{name: "kubelet", args: []string{
		"--config=" + c.run("kubelet.yaml"), "--kubeconfig=" + c.kubeconfig("kubelet"),
		"--hostname-override=" + nodeName, "--node-ip=" + nodeIP,
		"--root-dir=" + c.run("kubelet"), "--cert-dir=" + c.run("kubelet-certificates"),
	}}
}

func (c cluster) kubeProxy() program {
	return program{name: "kube-proxy", args: []string{
		"--config=" + c.run("kube-proxy.yaml"), "--hostname-override=" + nodeName,
	}}
}

// metricsServer has the settings of its own manifest, but that it need not
// trust the kubelet's certificate blindly.
func (c cluster) metricsServer() program {
	config := c.kubeconfig("metrics-server")
	return program{name: "metrics-server", args: []string{
		"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
		"--bind-address=" + nodeIP, "--secure-port=" + metricsPort, "--cert-dir=" + c.run("metrics-certificates"),
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port",
		"--kubelet-certificate-authority=" + c.PKI() + "/ca.crt", "--metric-resolution=15s",
	}}
}
