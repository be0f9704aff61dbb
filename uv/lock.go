package uv

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Lock names every package of an environment, with the hashes of the files that
// may be taken for it.
type Lock struct {
	Python   string    // "3.11"
	Platform string    // "linux/amd64"
	Packages []Package // by name
}

// Package is one of a Lock.
type Package struct {
	Name    string   // as packages are compared by: "scikit-learn"
	Version string   // "1.5.2"
	Hashes  []string // "sha256:…", sorted, at least one
}

// Bounds on a lock. torch with its dozens of wheels has some hundred hashes.
const (
	maxLock     = 8 << 20
	maxPackages = 2000
)

const lockHeader = "# slipway python.lock 1: python %s, %s\n"

// Encode returns the lock as a pip requirements file. Equal locks give equal
// bytes.
func (l Lock) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, lockHeader, l.Python, l.Platform)
	for _, p := range l.Packages {
		fmt.Fprintf(&b, "%s==%s", p.Name, p.Version)
		for _, h := range p.Hashes {
			fmt.Fprintf(&b, " \\\n    --hash=%s", h)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Digest is the digest of Encode. It names everything that an environment is
// made of, but for the interpreter that compiles it.
func (l Lock) Digest() slipway.Digest {
	sum := sha256.Sum256(l.Encode())
	return slipway.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Package returns the package of a name, in any of its spellings.
func (l Lock) Package(name string) (Package, bool) {
	i := slices.IndexFunc(l.Packages, func(p Package) bool { return p.Name == mlmodel.PackageKey(name) })
	if i < 0 {
		return Package{}, false
	}
	return l.Packages[i], true
}

var (
	pinForm     = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9.!+_-]+)$`)
	hashForm    = regexp.MustCompile(`^--hash=((?:sha256|sha384|sha512):[0-9a-f]{64,128})$`)
	pythonForm  = regexp.MustCompile(`^3\.[0-9]{1,2}$`)
	headerForm  = regexp.MustCompile(`^# slipway python\.lock 1: python (\S+), (\S+)$`)
	errLockForm = "it is no lock of Python packages"
)

// ParseLock reads what Encode wrote. Code Corrupt: it did not.
func ParseLock(data []byte) (Lock, error) {
	const op = "reading the lock of Python packages"
	first, rest, _ := strings.Cut(string(data), "\n")
	header := headerForm.FindStringSubmatch(first)
	if header == nil || !pythonForm.MatchString(header[1]) || platforms[header[2]] == "" {
		return Lock{}, slipway.Errorf(slipway.Corrupt, op, "%s", errLockForm)
	}
	packages, err := parsePins(op, rest)
	if err != nil {
		return Lock{}, err
	}
	l := Lock{Python: header[1], Platform: header[2], Packages: packages}
	if !bytes.Equal(l.Encode(), data) {
		return Lock{}, slipway.Errorf(slipway.Corrupt, op, "it was changed by hand")
	}
	return l, nil
}

// parsePins reads name==version lines with their hashes, as uv writes them.
func parsePins(op, text string) ([]Package, error) {
	if len(text) > maxLock {
		return nil, slipway.Errorf(slipway.Exhausted, op, "it is larger than %d bytes", maxLock)
	}
	var list []Package
	lines := bufio.NewScanner(strings.NewReader(strings.ReplaceAll(text, "\\\n", " ")))
	lines.Buffer(nil, maxLock+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p, err := parsePin(op, line)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if err := lines.Err(); err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Corrupt, Err: err}
	}
	return sortPackages(op, list)
}

func parsePin(op, line string) (Package, error) {
	words := strings.Fields(line)
	pin := pinForm.FindStringSubmatch(words[0])
	if pin == nil {
		return Package{}, slipway.Errorf(slipway.Corrupt, op, "%.120q is no name==version", words[0])
	}
	p := Package{Name: mlmodel.PackageKey(pin[1]), Version: pin[2]}
	for _, word := range words[1:] {
		h := hashForm.FindStringSubmatch(word)
		if h == nil {
			return Package{}, slipway.Errorf(slipway.Corrupt, op, "%s: %.120q is no hash", p.Name, word)
		}
		p.Hashes = append(p.Hashes, h[1])
	}
	if len(p.Hashes) == 0 {
		return Package{}, slipway.Errorf(slipway.Corrupt, op, "%s has no hashes", p.Name).
			WithHint("use an index that tells the SHA-256 of its files (PEP 503)")
	}
	slices.Sort(p.Hashes)
	p.Hashes = slices.Compact(p.Hashes)
	return p, nil
}

func sortPackages(op string, list []Package) ([]Package, error) {
	slices.SortFunc(list, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	for i := range list {
		if i > 0 && list[i].Name == list[i-1].Name {
			return nil, slipway.Errorf(slipway.Corrupt, op, "it names %s twice", list[i].Name)
		}
	}
	if len(list) > maxPackages {
		return nil, slipway.Errorf(slipway.Exhausted, op, "it names more than %d packages", maxPackages)
	}
	return list, nil
}
