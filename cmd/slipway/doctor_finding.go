package main

import (
	"errors"
	"fmt"

	"github.com/slipway-dev/slipway"
)

func good(check, subject, format string, args ...any) finding {
	return finding{Check: check, Subject: subject, Mark: works, Found: fmt.Sprintf(format, args...)}
}

func skip(check, subject, format string, args ...any) finding {
	return finding{Check: check, Subject: subject, Mark: skipped, Found: fmt.Sprintf(format, args...)}
}

func note(check, subject, fix, format string, args ...any) finding {
	return finding{Check: check, Subject: subject, Mark: noted, Found: fmt.Sprintf(format, args...), Fix: fix}
}

func bad(check, subject, fix, format string, args ...any) finding {
	return finding{Check: check, Subject: subject, Mark: fails, Found: fmt.Sprintf(format, args...), Fix: fix}
}

// failed is an error as a line: what happened, why, and what mends it. What was
// being done, the check says already.
func failed(check, subject string, err error) finding {
	f := finding{Check: check, Subject: subject, Mark: fails, Found: err.Error(), Fix: orElse(slipway.HintOf(err), lastResort(slipway.CodeOf(err)))}
	var e *slipway.Error
	if !errors.As(err, &e) {
		return f
	}
	switch {
	case e.Message != "" && e.Err != nil:
		f.Found, f.Why = e.Message, e.Err.Error()
	case e.Message != "":
		f.Found = e.Message
	case e.Err != nil:
		f.Found = e.Err.Error()
	}
	return f
}

// tolerable is the finding where a release works all the same.
func (f finding) tolerable() finding {
	f.Mark = noted
	return f
}

// unasked is what was not looked at because an earlier check failed.
func unasked(why, subject string, checks ...string) []finding {
	var all []finding
	for _, check := range checks {
		all = append(all, skip(check, subject, "not checked: %s", why))
	}
	return all
}
