//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// etcFiles is what programs need of /etc and everybody may know: where
// libraries are, certificates, the time zone.
var etcFiles = []string{
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types",
	"ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/ca-trust/extracted", "crypto-policies",
}

// networkFiles is what is needed to reach others by name.
var networkFiles = []string{"resolv.conf", "hosts", "services", "protocols", "gai.conf"}

// madeFiles are ours: they name nobody of this machine.
var madeFiles = map[string]string{
	"passwd":        fmt.Sprintf("root:x:0:0::/nonexistent:/usr/sbin/nologin\nslipway:x:%d:%d::%s:/bin/sh\n", own, own, home),
	"group":         fmt.Sprintf("root:x:0:\nslipway:x:%d:\n", own),
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
	"hostname":      "sandbox\n",
}

func makeEtc(network bool) error {
	if err := os.Mkdir("/etc", 0o755); err != nil {
		return err
	}
	files := etcFiles
	if network {
		files = append(append([]string{}, files...), networkFiles...)
	} else if err := os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost sandbox\n::1 localhost\n"), 0o644); err != nil {
		return err
	}
	for _, name := range files {
		if err := showEtc(name); err != nil {
			return err
		}
	}
	for name, content := range madeFiles {
		if err := os.WriteFile("/etc/"+name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return unix.Sethostname([]byte("sandbox"))
}

// showEtc shows one file or folder of /etc, where it is there and whoever
// started the sandbox may read it.
func showEtc(name string) error {
	// The links in it are meant for the old root.
	real, err := resolveIn(old, "/etc/"+name, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	return bind(real, "/etc/"+name, readOnly)
}

// resolveIn follows the links of a path as if root were the root.
func resolveIn(root, path string, depth int) (string, error) {
	if depth > 16 {
		return "", &os.PathError{Op: "following", Path: path, Err: unix.ELOOP}
	}
	to, err := os.Readlink(root + path)
	switch {
	case errors.Is(err, unix.EINVAL): // not a link
		_, err = os.Stat(root + path)
		return root + path, err
	case err != nil:
		return "", err
	case !filepath.IsAbs(to):
		to = filepath.Join(filepath.Dir(path), to)
	}
	return resolveIn(root, filepath.Clean(to), depth+1)
}

// loopback starts the sandbox's own, where it has one.
func loopback(network bool) error {
	if network {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
