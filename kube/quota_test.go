package kube_test

import (
	"testing"

	"github.com/slipway-dev/slipway/kube"
)

func TestAQuotaThatWillNeverDo(t *testing.T) {
	t.Parallel()
	const refused = `pods "inference-service-64fc76f488-2szr9" is forbidden: exceeded quota: small, `
	for _, test := range []struct {
		text   string
		beside int
		want   bool
	}{
		{refused + "requested: requests.cpu=200m, used: requests.cpu=230m, limited: requests.cpu=300m", 1, true},
		{refused + "requested: requests.cpu=150m, used: requests.cpu=230m, limited: requests.cpu=300m", 1, false},
		{refused + "requested: requests.cpu=200m, used: requests.cpu=230m, limited: requests.cpu=300m", 0, false},
		{refused + "requested: requests.cpu=1, used: requests.cpu=0, limited: requests.cpu=300m", 0, true},
		{refused + "requested: pods=1,requests.memory=1Gi, used: pods=4,requests.memory=3Gi, limited: pods=4,requests.memory=3Gi", 2, false},
		{refused + "requested: pods=1,requests.memory=1Gi, used: pods=4,requests.memory=3Gi, limited: pods=4,requests.memory=3Gi", 3, true},
		{refused + "requested: pods=1, used: pods=4, limited: pods=many", 9, false},
		{refused + "requested: pods=1, used: pods=4, limited: ", 9, false},
		{`failed quota: small: must specify requests.cpu`, 1, false},
	} {
		if got := kube.NeverFits(test.text, test.beside); got != test.want {
			t.Errorf("beside %d, never fits: %t, want %t: %s", test.beside, got, test.want, test.text)
		}
	}
}
