// Command cluster brings up a real Kubernetes of one node on a bare Linux
// machine with Go, for tests and for trying things by hand. It needs root.
//
//	go run . up             builds it once, starts it, waits until it works; prints what env prints
//	go run . down           ends it and removes all but the built programs
//	go run . down -unused   the same, unless a test uses it
//	go run . env            prints the line for a shell that reaches it
//	go run . status         says what is wrong with it, if anything
//
// It is a Go module of its own, so that nobody who uses the project downloads
// Kubernetes. Run it in this folder. Everything lies in cluster below
// $SLIPWAY_TEST_CACHE (default: slipway-test in the user's cache folder).
//
// Its addresses are the machine's own: no other machine reaches it. Images
// come from any registry on loopback, in plain HTTP; its own, on
// 127.0.0.1:15001, also stands in for registry.k8s.io and has its pause image.
//
// What differs from a cluster as others have it: one node, and without name
// service for pods; the network plugin gives pods no way to other machines and
// enforces no NetworkPolicy; etcd does not wait for the disk; 250 pods may run
// on the node. The rest is as it is by default, above all every interval.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	c, err := locate()
	if err != nil {
		return err
	}
	// Where iptables and ip lie, which is not in everybody's PATH.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return err
	}
	switch fmt.Sprint(args) {
	case "[up]":
		return c.commandUp(ctx)
	case "[down]":
		return c.commandDown()
	case "[down -unused]":
		return c.commandDownUnused()
	case "[env]":
		fmt.Println(c.environment())
		return nil
	case "[status]":
		return c.commandStatus(ctx)
	}
	return errors.New("usage: go run . up | down | down -unused | env | status")
}

func (c cluster) commandUp(ctx context.Context) error {
	unlock, err := c.lock("lock", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.up(ctx, progress(time.Now())); err != nil {
		return err
	}
	fmt.Println(c.environment())
	return nil
}

func (c cluster) commandDown() error {
	unlock, err := c.lock("lock", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	return c.down()
}

// commandDownUnused leaves the cluster alone while another test holds the file
// users, as e2e.Cluster does.
func (c cluster) commandDownUnused() error {
	unlock, err := c.lock("users", syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		fmt.Fprintln(os.Stderr, "the cluster is in use by other tests and stays")
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return c.commandDown()
}

func (c cluster) commandStatus(ctx context.Context) error {
	want, err := version()
	if err != nil {
		return err
	}
	if err := c.healthy(ctx, want); err != nil {
		return fmt.Errorf("it does not run: %w", err)
	}
	fmt.Println("the cluster runs")
	return nil
}

func (c cluster) environment() string {
	return fmt.Sprintf("export KUBECONFIG=%q REGISTRY=%s PATH=%q:$PATH",
		c.kubeconfig("admin"), registryAddress, filepath.Dir(c.bin("kubectl")))
}

// lock takes a lock on a file, which the kernel lets go when this process ends.
func (c cluster) lock(name string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.root, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// progress prints lines with the time since the start.
func progress(begin time.Time) func(format string, args ...any) {
	return func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
}
