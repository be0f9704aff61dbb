//go:build e2e

package python_test

import (
	"os/exec"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// compareTables makes the DataFrames of numbers both ways that worker.py has.
const compareTables = `
import sys
exec(open("worker.py").read().replace("\nmain()\n", "\n"))
import numpy as np
import pandas as pd

class Bare(Model):
    def __init__(self):
        self.columns = self.index = None

bare, compared = Bare(), 0
values = {"d": [1.5, 2, np.nan], "f": [1, 2, 3], "l": [1, 2, 3], "i": [1, 2, 3], "b": [True, False, True], "t": [1, 2, 3]}
for kind in NUMBERS:
    for labels in (["a", "b"], ["x"], ["b", "a"]):
        array = np.array(values[kind]).astype(NUMBERS[kind])
        head = {"rows": 3, "columns": [[l, kind] for l in labels], "sizes": [array.nbytes] * len(labels)}
        for together in (1, 2):
            messages = [(head, memoryview(array.tobytes() * len(labels)))] * together
            pieces = [pieces_of(h, body) for h, body in messages]
            want = pd.DataFrame({l: column(kind, [p[i] for p in pieces]) for i, l in enumerate(labels)})
            assert is_numeric(head["columns"])
            got = bare.table(head["columns"], messages)
            pd.testing.assert_frame_equal(want, got, check_exact=True)
            assert type(want.columns) is type(got.columns) and want.columns.dtype == got.columns.dtype
            assert got.to_numpy().flags.aligned and got.to_numpy().flags.f_contiguous == want.to_numpy().flags.f_contiguous
            got.columns.name = "mine"  # a model may change what it gets
            got.iloc[0, 0] = got.iloc[1, 0]
            assert bare.table(head["columns"], messages).columns.name is None
            compared += 1
for columns in ([[None, "d"]], [[0, "d"]], [["a", "d"], ["b", "f"]], [["a", "s"]], [["a", "d"], ["a", "d"]]):
    assert not is_numeric(columns), columns
assert compared == 36, compared
`

// A model that gets numbers of one type gets the DataFrame that it would get
// of a dict of columns.
func TestE2ETable(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), e2e.Python(t, e2e.ScikitLearn...), "-c", compareTables).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
