package uv

import (
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-dev/slipway/mlmodel"
)

// Choice is how a model's requirements are taken.
type Choice struct {
	Full   bool   // mlflow as it is, not mlflow-skinny
	CPU    bool   // builds without GPU libraries, where PyPI has them
	MLflow string // the version that wrote the model, for one whose requirements name none; "": any
}

// Choose returns the requirements a model is served with. mlflow becomes
// mlflow-skinny with numpy and pandas, which loads models and leaves out MLflow's
// own server; with CPU, xgboost becomes xgboost-cpu, which leaves out 469 MB. (The
// builds of torch for CPUs are not on PyPI: UV_TORCH_BACKEND=cpu takes them from
// PyTorch's own index.)
func Choose(requirements []mlmodel.Requirement, c Choice) []mlmodel.Requirement {
	list := slices.Clone(requirements)
	if !names(list, "mlflow") && !names(list, "mlflow-skinny") {
		list = append(list, mlmodel.Requirement{Name: "mlflow", Specifier: exactly(c.MLflow)})
	}
	skinny := false
	for i, r := range list {
		switch {
		case r.Key() == "mlflow" && !c.Full:
			list[i].Name, list[i].Extras, list[i].Hashes, skinny = "mlflow-skinny", "", nil, true
		case r.Key() == "xgboost" && c.CPU:
			list[i].Name, list[i].Hashes = "xgboost-cpu", nil
		}
	}
	if skinny {
		list = withTables(list)
	}
	return list
}

func exactly(version string) string {
	r, err := mlmodel.ParseRequirement("mlflow==" + version)
	if version == "" || err != nil {
		return ""
	}
	return r.Specifier
}

// withTables adds numpy and pandas where they are not named, as new as the
// whole mlflow of that version would have them.
func withTables(list []mlmodel.Requirement) []mlmodel.Requirement {
	i := slices.IndexFunc(list, func(r mlmodel.Requirement) bool { return r.Key() == "mlflow-skinny" })
	numpy, pandas := bounds(list[i].Specifier)
	if !names(list, "numpy") {
		list = append(list, mlmodel.Requirement{Name: "numpy", Specifier: numpy})
	}
	if !names(list, "pandas") {
		list = append(list, mlmodel.Requirement{Name: "pandas", Specifier: pandas})
	}
	return list
}

// bounds returns what mlflow of an exact version says of numpy and pandas.
func bounds(specifier string) (numpy, pandas string) {
	version, exact := strings.CutPrefix(specifier, "==")
	parts := strings.Split(version, ".")
	if !exact || len(parts) < 2 {
		return "", ""
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	switch {
	case errMajor != nil || errMinor != nil:
		return "", ""
	case major < 2:
		return "<2", "<2"
	case major == 2 && minor < 16:
		return "<2", "<3"
	case major == 2, major == 3 && minor < 17:
		return "", "<3"
	}
	return "", ""
}

func names(list []mlmodel.Requirement, key string) bool {
	return slices.ContainsFunc(list, func(r mlmodel.Requirement) bool { return r.Key() == key })
}
