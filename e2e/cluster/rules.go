package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// removeRules removes what kube-proxy has written into the machine's packet
// filter, unless another cluster's kube-proxy is at work: then it is theirs.
func (c cluster) removeRules() error {
	if c.strangeProxy() != 0 {
		return nil
	}
	for _, iptables := range []string{"iptables", "ip6tables"} {
		saved, err := exec.Command(iptables + "-save").Output()
		if err != nil {
			continue // a machine without it has no rules
		}
		orders := removal(string(saved))
		if orders == "" {
			continue
		}
		restore := exec.Command(iptables+"-restore", "--noflush", "--wait")
		restore.Stdin = strings.NewReader(orders)
		if out, err := restore.CombinedOutput(); err != nil {
			return fmt.Errorf("%s-restore: %w\n%s", iptables, err, out)
		}
	}
	return nil
}

// removal turns the output of iptables-save into input for iptables-restore
// that removes every chain called KUBE-… and every rule that leads there, and
// nothing else. It is empty when there is none.
func removal(saved string) string {
	var orders, table, flushed, dropped []string
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		chain, _, _ := strings.Cut(strings.TrimPrefix(line, ":"), " ")
		switch {
		case strings.HasPrefix(line, "*"):
			table, flushed, dropped = []string{line}, nil, nil
		case strings.HasPrefix(line, ":KUBE-"):
			flushed, dropped = append(flushed, "-F "+chain), append(dropped, "-X "+chain)
		case strings.HasPrefix(line, "-A ") && !strings.HasPrefix(line, "-A KUBE-") && leadsToKube(line):
			table = append(table, "-D "+strings.TrimPrefix(line, "-A "))
		case line == "COMMIT" && len(dropped) > 0:
			orders = append(orders, table...)
			orders = append(append(append(orders, flushed...), dropped...), line, "")
		}
	}
	return strings.Join(orders, "\n")
}

func leadsToKube(rule string) bool {
	return strings.Contains(rule, "-j KUBE-") || strings.Contains(rule, "-g KUBE-")
}
