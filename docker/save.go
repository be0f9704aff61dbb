package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway"
)

const saveOp = "taking the image out of docker"

// Bounds on what `docker save` gives.
const (
	maxEntries = 10000
	maxJSON    = 8 << 20 // bytes of a manifest or config
)

// Save writes the image into an empty folder as an OCI layout (image
// specification 1.1, "Image Layout") of one image with the annotations, whose
// config is the engine's own, byte for byte. compression, "zstd" or "gzip", is
// that of its layers. Codes: Corrupt, what the engine gave is not that image;
// Exhausted, the disk is full; Unauthorized, the folder may not be written.
func (c *Client) Save(ctx context.Context, image Image, dir, compression string, annotations map[string]string) error {
	return saveFrom(ctx, func(read func(io.Reader) error) error {
		return c.stream(ctx, saveOp, read, "image", "save", image.Name)
	}, image.ID, dir, compression, annotations)
}

// saveFrom is Save of the archive that give hands to its reader.
func saveFrom(ctx context.Context, give func(func(io.Reader) error) error, id, dir, compression string, annotations map[string]string) (err error) {
	defer func() { err = fileFailure(saveOp, err) }()
	a := archive{dir: filepath.Join(dir, "saved"), files: map[string]string{}, links: map[string]string{}}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(a.dir)) }()
	if err := give(a.read); err != nil {
		return err
	}
	config, layers, err := a.image(id)
	if err != nil {
		return err
	}
	return layout{dir: dir, compression: compression}.write(ctx, config, layers, annotations)
}

// archive is what `docker save` wrote, each file under a name of our own.
type archive struct {
	dir   string
	files map[string]string // by their name in the archive: paths
	links map[string]string // names of the archive
}

// read unpacks the archive. Nothing in it chooses where it is written.
func (a *archive) read(r io.Reader) error {
	reader := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken("%v", err)
		}
		if n > maxEntries {
			return broken("it has more than %d entries", maxEntries)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.files[name] = filepath.Join(a.dir, fmt.Sprint(n))
			if err := spool(a.files[name], reader); err != nil {
				return err
			}
		case tar.TypeSymlink: // Docker before 25 writes a layer once
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			a.links[name] = path.Clean(h.Linkname)
		}
	}
}

func spool(file string, r io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = broken("%v", err)
	}
	return errors.Join(err, f.Close())
}

// file is the path of what the archive has under the name.
func (a *archive) file(name string) (string, error) {
	name = path.Clean(name)
	if to, ok := a.links[name]; ok {
		name = to
	}
	file, ok := a.files[name]
	if !ok {
		return "", broken("it lacks %.200q", name)
	}
	return file, nil
}

func (a *archive) json(name string) ([]byte, error) {
	file, err := a.file(name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err != nil || info.Size() > maxJSON {
		return nil, errors.Join(err, broken("%.200q is too large", name))
	}
	return os.ReadFile(file)
}

// image returns the config's bytes and the layers' files, the lowest first.
// The format is that of Docker's image specification 1.2 ("Combined Image JSON
// + Filesystem Changeset Format"), in which Docker since 25 writes OCI blobs.
func (a *archive) image(id string) (config []byte, layers []string, err error) {
	raw, err := a.json("manifest.json")
	if err != nil {
		return nil, nil, err
	}
	var manifests []struct {
		Config string
		Layers []string
	}
	if json.Unmarshal(raw, &manifests) != nil || len(manifests) != 1 {
		return nil, nil, broken("its manifest.json is not that of one image")
	}
	if config, err = a.json(manifests[0].Config); err != nil {
		return nil, nil, err
	}
	if err := a.checkID(id, config); err != nil {
		return nil, nil, err
	}
	for _, name := range manifests[0].Layers {
		file, err := a.file(name)
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, file)
	}
	return config, layers, nil
}

// checkID makes sure that this is the image that was checked: its ID is the
// digest of its config, or where the engine keeps images as containerd does, of
// a manifest, which then is in the archive, too.
func (a *archive) checkID(id string, config []byte) error {
	if id == digestOf(config) {
		return nil
	}
	raw, err := a.json("blobs/sha256/" + strings.TrimPrefix(id, "sha256:"))
	if err == nil && digestOf(raw) == id {
		return nil
	}
	return broken("it is another image than %.80s", id)
}

func broken(format string, args ...any) error {
	return slipway.Errorf(slipway.Corrupt, saveOp, "what docker save gave is no image: "+format, args...).WithHint("build again")
}
