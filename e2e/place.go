package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Place puts a small Deployment and its Service into the namespace, as the
// project's manifest has them but for their size, and returns where they are
// reached from this machine: HOST:PORT. The Deployment has the placeholder,
// so that nothing serves there yet.
func (c *KubeCluster) Place(t testing.TB, namespace, name string, replicas int) (address string) {
	t.Helper()
	c.Apply(t, fmt.Sprintf(place, namespace, name, replicas))
	ip := c.Kubectl(t, "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
	return strings.TrimSpace(ip) + ":8000"
}

const place = `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: %[1]s, name: %[2]s, labels: {app: %[2]s}}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 100%%}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      containers:
        - name: %[2]s
          image: registry.k8s.io/pause:3.10
          ports: [{name: http, containerPort: 8000}]
          startupProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 60}
          readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
          resources: {requests: {cpu: 10m, memory: 32Mi}}
          terminationMessagePolicy: FallbackToLogsOnError
---
apiVersion: v1
kind: Service
metadata: {namespace: %[1]s, name: %[2]s}
spec:
  selector: {app: %[2]s}
  ports: [{name: http, port: 8000, targetPort: http}]
`
