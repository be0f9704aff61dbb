package python

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes as a flag or variable: 512M, 2G, 1073741824.
type Size int64

func (s *Size) String() string { return strconv.FormatInt(int64(*s), 10) }

// Set reads a number with or without K, M or G, in powers of 1024; KiB and the
// like, and Kubernetes' Mi, mean the same.
func (s *Size) Set(text string) error {
	number := strings.ToUpper(strings.TrimRight(text, "iBb"))
	unit, shift := strings.TrimLeft(number, "0123456789"), 0
	if i := strings.Index("KMG", unit); i >= 0 && len(unit) == 1 {
		number, shift = strings.TrimSuffix(number, unit), 10*(i+1)
	}
	n, err := strconv.ParseInt(number, 10, 33)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size such as 512M or 2G", text)
	}
	*s = Size(n << shift)
	return nil
}
