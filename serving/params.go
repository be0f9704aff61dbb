package serving

import (
	"fmt"
	"math"

	"github.com/slipway-dev/slipway/mlmodel"
)

// readParams checks the request's parameters and fills in the defaults. A
// model without declared parameters, and a name that is not declared, are
// passed over, as by MLflow.
func (d *decoder) readParams() map[string]any {
	if len(d.codec.params) == 0 {
		return nil
	}
	given := map[string]any{}
	if d.params != nil {
		r := reader{buf: d.params}
		value := r.any()
		m, ok := value.(map[string]any)
		if !ok && value != nil {
			d.fail(&refusal{status: 400, code: invalidParameter, class: classInvalid,
				message: fmt.Sprintf("Parameters must be a dictionary. Got type '%s'.", jsonKind(d.params[0]))})
			return nil
		}
		given = m
	}
	params := make(map[string]any, len(d.codec.params))
	for _, p := range d.codec.params {
		value, ok := given[p.Name]
		if !ok {
			r := reader{buf: p.Default}
			params[p.Name] = r.any()
			continue
		}
		fitted, ok := fitParam(p, value)
		if !ok {
			d.fail(&refusal{status: 400, code: invalidParameter, class: classInvalid,
				message: fmt.Sprintf("Invalid parameters found: '%s' must be %s.", short(p.Name, 100), paramType(p))})
			return nil
		}
		params[p.Name] = fitted
	}
	return params
}

func paramType(p mlmodel.Param) string {
	if p.List {
		return "a list of " + p.Type
	}
	return article(p.Type)
}

// fitParam widens as MLflow's ParamSpec does (int to long, float and double;
// long to float and double) and bends nothing.
func fitParam(p mlmodel.Param, value any) (any, bool) {
	if value == nil {
		return nil, string(p.Default) == "null"
	}
	if !p.List {
		return fitParamValue(p.Type, value)
	}
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	for i := range list {
		if list[i], ok = fitParamValue(p.Type, list[i]); !ok {
			return nil, false
		}
	}
	return list, true
}

func fitParamValue(kind string, value any) (any, bool) {
	if _, isMap := value.(map[string]any); kind == mlmodel.TypeObject {
		return value, isMap
	}
	if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return f, kind == mlmodel.TypeDouble || kind == mlmodel.TypeFloat
	}
	fitted, problem := conformScalar(kind, value, false)
	return fitted, problem == ""
}
