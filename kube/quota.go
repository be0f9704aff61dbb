package kube

import (
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// quotaWords are those of the admission plugin that keeps quotas.
var quotaWords = regexp.MustCompile(`requested: (\S+), used: \S+, limited: (\S+)`)

// neverFits reports whether the quota that refused a pod has no room for it
// beside n others like it, even where everything else leaves.
func neverFits(refusal string, n int) bool {
	m := quotaWords.FindStringSubmatch(refusal)
	if m == nil {
		return false
	}
	limits := amounts(m[2])
	for name, each := range amounts(m[1]) {
		limit, limited := limits[name]
		if all := each.AsApproximateFloat64() * float64(n+1); limited && all > limit.AsApproximateFloat64() {
			return true
		}
	}
	return false
}

// amounts reads "pods=1,requests.cpu=200m". What cannot be read is left out.
func amounts(text string) map[string]resource.Quantity {
	all := map[string]resource.Quantity{}
	for part := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
		name, amount, _ := strings.Cut(part, "=")
		if q, err := resource.ParseQuantity(amount); err == nil {
			all[name] = q
		}
	}
	return all
}
