package local

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipway-dev/slipway"
)

// folder is where a target keeps everything.
type folder string

// folderOf names a target's folder after its address, so that the supervisor
// learns the address from the folder alone.
func folderOf(stateDir, address string) folder {
	return folder(filepath.Join(stateDir, url.PathEscape(address)))
}

func (f folder) address() (string, error) { return url.PathUnescape(filepath.Base(string(f))) }

func (f folder) path(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}

func (f folder) image(d slipway.Digest) string { return f.path("images", string(d[len("sha256:"):])) }

// make creates the folder, for this user alone, and the ones below it.
func (f folder) make() error {
	const op = "making the target's folder"
	for _, dir := range []string{string(f), f.path("images"), f.path("replicas"), f.path("journal")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fileError(op, dir, err)
		}
	}
	info, err := os.Stat(string(f))
	if err != nil {
		return fileError(op, string(f), err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return slipway.Errorf(slipway.Unauthorized, op, "%s belongs to user %d", f, owner).
			WithHint("use the state folder of your own user")
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(string(f), 0o700); err != nil {
			return fileError(op, string(f), err)
		}
	}
	return nil
}

// stateSchema is the newest form of state this program writes.
const stateSchema = 1

// state is what the supervisor must not forget: desired.json.
type state struct {
	SchemaVersion int    `json:"schemaVersion"`
	Fence         uint64 `json:"fence"`             // the newest the target has seen
	Desired       *order `json:"desired,omitempty"` // nil: serve nothing
	Serving       *order `json:"serving,omitempty"` // what receives requests until Desired is ready; nil: nothing yet
}

// maxStateSize bounds desired.json and every message on the socket, in bytes.
const maxStateSize = 4 << 20

func (f folder) readState() (state, error) {
	const op = "reading what the target is set to"
	var s state
	path := f.path("desired.json")
	data, err := readFile(path, maxStateSize)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fileError(op, path, err)
	}
	err = json.Unmarshal(data, &s)
	if s.SchemaVersion > stateSchema {
		return s, slipway.Errorf(slipway.Invalid, op, "%s was written by a newer slipway", path).WithHint("use the newer slipway")
	}
	for _, o := range []*order{s.Desired, s.Serving} {
		if err == nil && o != nil {
			err = o.check()
		}
	}
	if err != nil {
		return state{}, (&slipway.Error{Op: op, Code: slipway.Corrupt, Message: path + " is broken", Err: err}).
			WithHint("move %s away, end what still serves, and deploy again", path)
	}
	return s, nil
}

func (f folder) writeState(s state) error {
	s.SchemaVersion = stateSchema
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return &slipway.Error{Op: "storing what the target is set to", Code: slipway.Internal, Err: err}
	}
	path := f.path("desired.json")
	if err := writeFile(path, data); err != nil {
		return fileError("storing what the target is set to", path, err)
	}
	return nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errors.New("the file is too large")
	}
	return data, err
}

// writeFile replaces a file so that it is either the old or the new one,
// whatever dies meanwhile. Callers hold the lock that guards the file, so the
// new one has one name: what a writer that died left, the next one takes.
func writeFile(path string, data []byte) (err error) {
	temp, err := os.OpenFile(filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in the directory last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// fileError says what a failed file operation means to the user.
func fileError(op, path string, err error) *slipway.Error {
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Message: path, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Code = slipway.Exhausted
		return e.WithHint("free some space on the disk of %s", filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Code = slipway.Unauthorized
		return e.WithHint("let this user read and write %s", filepath.Dir(path))
	}
	return e
}
