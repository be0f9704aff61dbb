package serving

// whole is the format of a body that is the input itself.
const whole = "whole"

// bodyRows keeps the rows of a model without declared inputs as they were
// sent, for a predictor that knows what to make of them.
func (d *decoder) bodyRows() {
	d.next()
	start := d.pos
	d.row = 1
	if d.buf[min(d.pos, len(d.buf)-1)] == '[' {
		d.row = d.count()
	} else {
		d.skip()
	}
	d.batch.Format, d.batch.Body = d.format, d.buf[min(start, d.pos):d.pos]
	if d.llm {
		d.batch.Format = whole
	}
}

// count passes an array and returns how many values it has.
func (d *decoder) count() (n int) {
	d.open('[', "an array")
	for ; d.more(']', n); n++ {
		d.skip()
	}
	return n
}
