// Command pause sleeps until it is told to end: what holds a pod's network, and
// what a Deployment runs until its first release.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
