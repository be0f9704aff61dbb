package mlmodel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// modelOf writes a model directory of the files, "name: text", beside an
// MLmodel of Python 3.11.7, and opens it.
func modelOf(t *testing.T, files map[string]string) *mlmodel.Model {
	t.Helper()
	dir := t.TempDir()
	if _, ok := files["MLmodel"]; !ok {
		files["MLmodel"] = "flavors: {python_function: {python_version: 3.11.7}}"
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const noPython = "flavors: {sklearn: {}}"

func TestNeeds(t *testing.T) {
	t.Parallel()
	hash := "sha256:" + strings.Repeat("ab", 32)
	conda := "dependencies:\n- python=3.10.13\n- pip<=23.2.1\n- pip:\n  - mlflow==2.9\n  - numpy\nname: mlflow-env\n"
	for name, test := range map[string]struct {
		files                     map[string]string
		python, from              string
		want, constraints, others []string
	}{
		"requirements": {map[string]string{"requirements.txt": "\ufeffmlflow==3.17.2\r\n# no\nnumpy  >= 1 , < 3   # why\npandas"}, "3.11", "requirements.txt",
			[]string{"mlflow==3.17.2", "numpy>=1,<3", "pandas"}, nil, nil},
		"requirements count": {map[string]string{"requirements.txt": "a", "conda.yaml": "dependencies: [scipy=1, python=3.9]", "python_env.yaml": "python: 3.12.1\ndependencies: [b]"}, "3.12", "requirements.txt",
			[]string{"a"}, nil, nil},
		"parts": {map[string]string{"requirements.txt": "a[x, y] (>=1,<2) ; python_version < '3.12' and sys_platform != \"win32\"\nb~=1.0"}, "3.11", "requirements.txt",
			[]string{`a[x,y]>=1,<2 ; python_version < '3.12' and sys_platform != "win32"`, "b~=1.0"}, nil, nil},
		"continued": {map[string]string{"requirements.txt": "a==1 \\\n    --hash=" + hash + " \\\n    --hash " + hash + "\nb \\"}, "3.11", "requirements.txt",
			[]string{"a==1 --hash=" + hash + " --hash=" + hash, "b"}, nil, nil},
		"other files": {map[string]string{"requirements.txt": "-r more/base.txt\n-c constraints.txt\na", "more/base.txt": "-rnext.txt", "more/next.txt": "b", "constraints.txt": "-r c2.txt\nc<3", "c2.txt": "d<4"}, "3.11", "requirements.txt",
			[]string{"b", "a"}, []string{"d<4", "c<3"}, nil},
		"options": {map[string]string{"requirements.txt": "--index-url https://me:secret@evil/simple\n--extra-index-url=https://x/y\n-f wheels\n--trusted-host evil\n--prefer-binary\n--pre\na"}, "3.11", "requirements.txt",
			[]string{"a"}, nil, []string{"https://evil/simple", "https://x/y", "wheels"}},
		"python_env": {map[string]string{"python_env.yaml": "python: 3.9\ndependencies: [a==1, b]"}, "3.9", "python_env.yaml", []string{"a==1", "b"}, nil, nil},
		"conda":      {map[string]string{"conda.yaml": conda, "MLmodel": noPython}, "3.10", "conda.yaml", []string{"mlflow==2.9", "numpy"}, nil, nil},
		"conda's channel": {map[string]string{"conda.yaml": "dependencies: ['conda-forge::python==3.8.*', 'conda-forge::pip', {pip: [a]}]", "MLmodel": noPython}, "3.8", "conda.yaml",
			[]string{"a"}, nil, nil},
		"empty": {map[string]string{"requirements.txt": "\n"}, "3.11", "requirements.txt", nil, nil, nil},
	} {
		got, err := modelOf(t, test.files).Needs()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Python != test.python || got.From != test.from || got.Prerelease != strings.Contains(test.files["requirements.txt"], "--pre\n") {
			t.Errorf("%s: %+v", name, got)
		}
		for i, list := range [][]string{texts(got.Requirements), texts(got.Constraints), got.Indexes} {
			if d := cmp.Diff([][]string{test.want, test.constraints, test.others}[i], list); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	}
}

func texts(list []mlmodel.Requirement) []string {
	var lines []string
	for _, r := range list {
		lines = append(lines, r.String())
	}
	return lines
}

// TestNeedsRefused is the table of environments that cannot be made, and what
// the error says.
func TestNeedsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		code  slipway.Code
		want  string
	}{
		"nothing":            {map[string]string{}, slipway.NotFound, "no requirements.txt"},
		"no Python":          {map[string]string{"MLmodel": noPython, "requirements.txt": "a"}, slipway.NotFound, "neither MLmodel"},
		"Python of a range":  {map[string]string{"MLmodel": noPython, "conda.yaml": "dependencies: [python>=3.8, {pip: [a]}]"}, slipway.NotFound, "neither MLmodel"},
		"Python 2":           {map[string]string{"python_env.yaml": "python: 2.7.18", "requirements.txt": "a"}, slipway.Invalid, "no version of Python 3"},
		"Python of words":    {map[string]string{"python_env.yaml": "python: '3.11; rm -rf'", "requirements.txt": "a"}, slipway.Invalid, "no version of Python 3"},
		"conda package":      {map[string]string{"conda.yaml": "dependencies: [python=3.9, 'conda-forge::libgomp', scipy=1.2, {pip: [a]}]"}, slipway.Invalid, `["libgomp" "scipy"]`},
		"git":                {map[string]string{"requirements.txt": "a @ git+https://me:secret@host/a"}, slipway.Invalid, "version control"},
		"bare git":           {map[string]string{"requirements.txt": "git+ssh://git@host/a#egg=a"}, slipway.Invalid, "version control"},
		"file address":       {map[string]string{"requirements.txt": "a @ file:///tmp/a.whl"}, slipway.Invalid, "address of its own"},
		"web address":        {map[string]string{"requirements.txt": "https://me:secret@host/a-1-py3-none-any.whl"}, slipway.Invalid, "address of its own"},
		"@ in a password":    {map[string]string{"requirements.txt": "a @ git+https://me:pass@secret@host/a"}, slipway.Invalid, "version control"},
		"variable":           {map[string]string{"requirements.txt": "a @ https://host/${AWS_SECRET_ACCESS_KEY}"}, slipway.Invalid, "address of its own"},
		"folder":             {map[string]string{"requirements.txt": "./code"}, slipway.Invalid, "is a path"},
		"wheel":              {map[string]string{"requirements.txt": "wheels/a-1-py3-none-any.whl"}, slipway.Invalid, "is a path"},
		"editable":           {map[string]string{"requirements.txt": "-e ."}, slipway.Invalid, "in place"},
		"unknown option":     {map[string]string{"requirements.txt": "--no-binary :all:"}, slipway.Invalid, "--no-binary"},
		"option of a line":   {map[string]string{"requirements.txt": "a==1 --index-url http://evil"}, slipway.Invalid, "address of its own"},
		"settings of a line": {map[string]string{"requirements.txt": "a==1 --config-settings=x"}, slipway.Invalid, "no requirement"},
		"two on a line":      {map[string]string{"requirements.txt": "a b"}, slipway.Invalid, "no requirement"},
		"quoted":             {map[string]string{"requirements.txt": "a; '$(x)'"}, slipway.Invalid, "no requirement"},
		"short hash":         {map[string]string{"requirements.txt": "a==1 --hash=md5:00"}, slipway.Invalid, "no hash"},
		"a file outside":     {map[string]string{"requirements.txt": "-r ../../etc/passwd"}, slipway.Invalid, "../../etc/passwd"},
		"an absolute file":   {map[string]string{"requirements.txt": "-c /etc/passwd"}, slipway.Invalid, "not in the model directory"},
		"a file elsewhere":   {map[string]string{"requirements.txt": "-c https://me:secret@host/c.txt"}, slipway.Invalid, "not in the model directory"},
		"a missing file":     {map[string]string{"requirements.txt": "-r no.txt"}, slipway.NotFound, "no.txt"},
		"a circle":           {map[string]string{"requirements.txt": "-r requirements.txt"}, slipway.Exhausted, "more than 16 files"},
		"many":               {map[string]string{"requirements.txt": strings.Repeat("a\n", 5000)}, slipway.Exhausted, "more than 4096"},
		"pip no list":        {map[string]string{"conda.yaml": "dependencies: [{pip: a}]"}, slipway.Invalid, "dependencies.pip is text"},
		"conda of numbers":   {map[string]string{"conda.yaml": "dependencies: [1]"}, slipway.Invalid, "dependencies is a list"},
	} {
		_, err := modelOf(t, test.files).Needs()
		if slipway.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v (%s) lacks %q", name, err, slipway.CodeOf(err), test.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

// FuzzRequirements reads anything as a requirements file: what comes out is one
// line each that reads as the same requirement again.
func FuzzRequirements(f *testing.F) {
	for _, seed := range []string{"a==1 \\\n --hash=sha256:00", "-r x\n--index-url=y", "a[b] ; c", "# \\\na", "-", "a @ b", "--hash=x", "a;\n;b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		needs, err := mlmodel.ParseRequirements(t.TempDir(), text)
		if err != nil {
			return
		}
		for _, r := range needs.Requirements {
			line := r.String()
			again, err := mlmodel.ParseRequirement(line)
			if err != nil || !cmp.Equal(again, r) || strings.ContainsAny(line, "\r\n$\\@") || strings.Contains(line, "://") {
				t.Errorf("%q: %+v %v", line, r, err)
			}
		}
	})
}
