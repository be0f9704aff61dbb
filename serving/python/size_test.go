package python_test

import (
	"testing"

	"github.com/slipway-dev/slipway/serving/python"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]python.Size{
		"512M": 512 << 20, "2G": 2 << 30, "1073741824": 1 << 30, "100Ki": 100 << 10, "1gib": 1 << 30, "0": 0,
		"": -1, "M": -1, "-1": -1, "9T": -1, "1.5G": -1, "1MM": -1, "99999999999999": -1,
	} {
		got := python.Size(-1)
		if err := got.Set(text); got != want || (err != nil) != (want < 0) {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
}
