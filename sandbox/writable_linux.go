//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxInodes bounds the files a program may make: each takes a kilobyte of the
// kernel's memory.
const maxInodes = 1 << 18

// makeWritable makes one bounded file system in memory for all that the
// program may write.
func (b *box) makeWritable(j job) (err error) {
	const work = "/work.new"
	options := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0755", j.Disk, min(maxInodes, j.Disk/1024+64))
	if err := errors.Join(os.Mkdir(work, 0o700),
		unix.Mount("tmpfs", work, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)); err != nil {
		return err
	}
	if b.work, err = os.Open(work); err != nil {
		return err
	}
	for name, target := range map[string]string{"home": home, "tmp": "/tmp", "shm": "/dev/shm", "made": ""} {
		dir := work + "/" + name
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, own, own)); err != nil {
			return err
		}
		if target == "" {
			continue
		}
		if err := bind(dir, target, writable); err != nil {
			return err
		}
	}
	if b.made, err = os.OpenRoot(work + "/made"); err != nil {
		return err
	}
	return nil
}

// showGiven shows what the Config names, parents first.
func (b *box) showGiven(j job) (err error) {
	for _, m := range j.Mounts {
		if m.Source == "" {
			err = bind("/work.new/made", m.Target, writable)
		} else {
			err = bind(old+m.Source, m.Target, readOnly)
		}
		if err != nil {
			return err
		}
	}
	if j.Out != "" {
		b.out, err = os.OpenRoot(old + j.Out)
	}
	return err
}

// leave lets go of this machine's files. What is shown stays.
func (b *box) leave() error {
	for _, path := range []string{"/work.new", old} {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return setAttributes("/", 0, readOnly)
}

// deliver copies the files and folders that the program made to the real
// folder. Links, which could lead whoever reads them elsewhere, and sparse
// files, which could grow beyond the bound, do not come along.
func (b *box) deliver(limit int64) error {
	if b.out == nil {
		return nil
	}
	left := limit
	return fs.WalkDir(b.made.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case d.IsDir():
			if err := b.out.Mkdir(path, 0o755); !errors.Is(err, fs.ErrExist) {
				return err
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		return b.copyFile(path, &left)
	})
}

func (b *box) copyFile(path string, left *int64) error {
	from, err := b.made.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := b.out.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, io.LimitReader(from, *left+1))
	if *left -= n; *left < 0 {
		err = errTooLarge
	}
	return errors.Join(err, to.Close())
}

var errTooLarge = errors.New("what the program made is larger than its disk")
