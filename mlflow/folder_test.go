package mlflow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/mlmodel"
)

const ownAddress = "wasbs://models@mlstore.blob.core.windows.net/7/model"

// ownFolder is a folder in an object store, by the files' paths.
type ownFolder struct {
	mu     sync.Mutex
	files  map[string][]byte
	dirs   []string // listed at the root, beside those of the files
	refuse error
	cut    map[string]int // bytes after which the next transfer of a file breaks
	began  []int64        // where transfers began
}

func (f *ownFolder) List(_ context.Context, dir string) (files []mlmodel.File, dirs []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, nil, f.refuse
	}
	seen := map[string]bool{}
	for path, data := range f.files {
		rest := path
		if dir != "" {
			var below bool
			if rest, below = strings.CutPrefix(path, dir+"/"); !below {
				continue
			}
		}
		if name, _, deeper := strings.Cut(rest, "/"); !deeper {
			files = append(files, mlmodel.File{Path: name, Size: int64(len(data))})
		} else if !seen[name] {
			seen[name] = true
			dirs = append(dirs, name)
		}
	}
	if dir == "" {
		dirs = append(dirs, f.dirs...)
	}
	return files, dirs, nil
}

func (f *ownFolder) Open(_ context.Context, path string, from int64, tag string) (io.ReadCloser, int64, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	const now = `"0x8D"`
	if tag != now {
		from = 0
	}
	f.began = append(f.began, from)
	body := io.Reader(bytes.NewReader(f.files[path][from:]))
	if n, ok := f.cut[path]; ok {
		delete(f.cut, path)
		body = io.MultiReader(io.LimitReader(body, int64(n)), broken{})
	}
	return io.NopCloser(body), from, now, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) {
	return 0, slipway.Errorf(slipway.Unavailable, "reading", "the line broke")
}

// shopWith is a shop whose version lies in an object store.
func shopWith(t *testing.T, folder *ownFolder) (*shop, *mlflow.Client) {
	t.Helper()
	s := newShop(t, mlflowtest.Config{})
	if err := s.SetLocation("iris", "1", ownAddress); err != nil {
		t.Fatal(err)
	}
	s.version.ModelID = ""
	return s, client(t, mlflow.Config{URI: s.URL(), Retries: 1, Folders: func(uri string) (mlflow.Folder, error) {
		if uri != ownAddress {
			return nil, nil
		}
		return folder, nil
	}})
}

func modelFiles(big []byte) map[string][]byte {
	return map[string][]byte{"MLmodel": []byte("flavors:\n  python_function: {loader_module: x}\nmodel_uuid: \"1\"\n"), "data/big.bin": big, "data/empty": nil}
}

// With credentials of our own the files come from the store itself, go on where
// they broke, and MLflow is not asked for any.
func TestOwnFolder(t *testing.T) {
	t.Parallel()
	folder := &ownFolder{files: modelFiles(bytes.Repeat([]byte("0123456789abcdef"), 1<<17)), cut: map[string]int{"data/big.bin": 1<<20 + 5}}
	s, m := shopWith(t, folder)
	dir := filepath.Join(t.TempDir(), "m")
	var last int64
	files, err := m.Download(t.Context(), s.version, dir, func(done, total int64) { last = total - done })
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 || last != 0 || files[1].Path != "data/big.bin" || files[1].Size != 2<<20 {
		t.Errorf("got %+v, %d bytes missing", files, last)
	}
	again := int64(0)
	for _, n := range folder.began {
		again = max(again, n)
	}
	if again != 1<<20+5 {
		t.Errorf("transfers began at %v", folder.began)
	}
}

// A store that does not let us in leaves MLflow's own way; if that does not
// lead there either, both are told.
func TestOwnFolderRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]error{
		"no role": slipway.Errorf(slipway.Unauthorized, "reading", "the role is missing").WithHint("az role assignment create"),
		"hostile": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := &ownFolder{files: modelFiles(nil), refuse: refuse, dirs: []string{".."}}
			s, m := shopWith(t, folder)
			dir := filepath.Join(t.TempDir(), "m")
			_, err := m.Download(t.Context(), s.version, dir, nil)
			want := []string{"outside of what MLflow lists", "the role is missing", "az role assignment create"}
			if refuse == nil {
				want = []string{"outside of what MLflow lists", "not safe to store", "leads elsewhere"}
			}
			wantError(t, err, slipway.Invalid, want...)
			nothing(t, dir)
		})
	}
}

// What a store names is no more trusted than what MLflow names.
func TestOwnFolderHostile(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"..": "leads elsewhere", "": "empty name", "a\\b": "backslash", "a\x1bb": "control", "mlmodel": "differ in nothing but case",
		".slipway": "reserved", strings.Repeat("x", 300): "too long", "a/b": "slash",
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			s, m := shopWith(t, &ownFolder{files: modelFiles(nil), dirs: []string{name}})
			dir := filepath.Join(t.TempDir(), "m")
			_, err := m.Download(t.Context(), s.version, dir, nil)
			wantError(t, err, slipway.Invalid, says)
			nothing(t, dir)
		})
	}
}

// A folder that cannot be opened at all leaves MLflow's own way, too.
func TestOwnFolderMalformed(t *testing.T) {
	t.Parallel()
	s, _ := shopWith(t, nil)
	m := client(t, mlflow.Config{URI: s.URL(), Folders: func(string) (mlflow.Folder, error) {
		return nil, errors.New("the connection string is malformed")
	}})
	_, err := m.Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil)
	wantError(t, err, slipway.Invalid, "outside of what MLflow lists", "the connection string is malformed")
}
