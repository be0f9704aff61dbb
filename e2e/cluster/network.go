package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// setUpNetwork gives the node its address and the Services' range a route, so
// that the cluster needs no network of the machine's, and lets the machine
// forward to pods. tearDownNetwork undoes the first two; forwarding stays on.
func setUpNetwork() error {
	if err := run("ip", "link", "set", "lo", "up"); err != nil {
		return err
	}
	if err := run("ip", "address", "replace", nodeIP+"/32", "dev", "lo"); err != nil {
		return err
	}
	if err := run("ip", "route", "replace", serviceCIDR, "dev", "lo", "src", nodeIP); err != nil {
		return err
	}
	if on, err := os.ReadFile(forwarding); err == nil && strings.TrimSpace(string(on)) == "1" {
		return nil // writing it may be forbidden
	}
	return os.WriteFile(forwarding, []byte("1"), 0o644)
}

func tearDownNetwork() error {
	if !hasAddress(nodeIP) {
		return nil
	}
	_ = run("ip", "route", "del", serviceCIDR, "dev", "lo") // goes with the address in any case
	return run("ip", "address", "del", nodeIP+"/32", "dev", "lo")
}

func hasAddress(ip string) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.String() == ip {
			return true
		}
	}
	return false
}

// checkAlone fails when another cluster would fight with ours over the rules of
// Services.
func (c cluster) checkAlone() error {
	if pid := c.strangeProxy(); pid != 0 {
		return fmt.Errorf("process %d is the kube-proxy of another cluster; two in one network would delete each other's rules: "+
			"end that cluster, or set KUBECONFIG to use it", pid)
	}
	return nil
}

// checkFree fails when another program has one of our ports.
func checkFree() error {
	for _, address := range []string{
		nodeIP + ":" + apiPort, nodeIP + ":" + kubeletPort, nodeIP + ":" + metricsPort, "127.0.0.1:" + kubeletHealthPort,
		"127.0.0.1:" + controllerPort, "127.0.0.1:" + schedulerPort, proxyHealth, proxyMetrics, etcdClient, etcdPeer, registryAddress,
	} {
		if err := soonFree(address); err != nil {
			return fmt.Errorf("the cluster needs %s: %w; `ss -ltnp` shows who has it", address, err)
		}
	}
	return nil
}

// soonFree waits for programs of ours that somebody else has just killed.
func soonFree(address string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// strangeProxy returns the number of a kube-proxy that is not ours and works in
// this process's network namespace, or 0.
func (c cluster) strangeProxy() int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	here, _ := os.Readlink("/proc/self/ns/net")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || programName(pid) != "kube-proxy" || c.owns(pid) {
			continue
		}
		if there, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net")); err == nil && there == here {
			return pid
		}
	}
	return 0
}
