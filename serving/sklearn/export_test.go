package sklearn

import "github.com/slipway-dev/slipway/serving/sklearn/skops"

// Ignored compiles the file and returns the reasons why attributes without
// influence are passed over, by class and attribute.
func Ignored(file *skops.File, method string) (map[[2]string]string, error) {
	reasons := map[[2]string]string{}
	c := &compiler{file: file, onIgnore: func(class, attribute, reason string) {
		reasons[[2]string{class, attribute}] = reason
	}}
	_, err := compile(c, method)
	return reasons, err
}
