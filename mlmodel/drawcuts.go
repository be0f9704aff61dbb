package mlmodel

import "math"

// A Cut is a number at which a model is known to change its answer: a tree's
// threshold for a column of the signature.
type Cut struct {
	Column int // from 0
	At     float64
}

// cutRows returns up to n calm rows with a number right at or beside a cut,
// each cut from all sides where there is room. In half of the other columns it
// stands beside one of theirs, so that rows reach leaves that are rarely seen.
func (d *drawer) cutRows(cuts []Cut, n int) [][][]byte {
	var all []place
	byColumn := map[int][]place{}
	for _, i := range d.rand.Perm(len(cuts)) {
		if c := cuts[i]; c.Column >= 0 && c.Column < len(d.source.columns) {
			sides := d.source.columns[c.Column].beside(c)
			byColumn[c.Column] = append(byColumn[c.Column], sides...)
			all = append(all, sides...)
		}
	}
	all = all[:max(min(n, len(all)), 0)]
	rows := d.placed(all)
	for i, row := range rows {
		for j := range row {
			if own := byColumn[j]; j != all[i].column && len(own) > 0 && d.rand.IntN(2) == 0 {
				row[j] = own[d.rand.IntN(len(own))].value
			}
		}
	}
	return rows
}

// beside returns the numbers next to a cut, for engines that compare float64
// and for those that compare float32.
func (d *drawColumn) beside(c Cut) []place {
	single := float32(c.At)
	below, above := single, single
	if float64(single) > c.At {
		below = math.Nextafter32(single, float32(math.Inf(-1)))
	} else {
		above = math.Nextafter32(single, float32(math.Inf(1)))
	}
	var places []place
	switch {
	case d.integral():
		for _, f := range []float64{math.Floor(c.At), math.Floor(c.At) + 1} {
			places = append(places, place{c.Column, d.int(f)})
		}
	case d.floating():
		for _, f := range []float64{c.At, math.Nextafter(c.At, math.Inf(1)), float64(below), float64(above)} {
			places = append(places, place{c.Column, d.float(f)})
		}
	}
	return places
}
