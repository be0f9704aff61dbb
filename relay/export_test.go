package relay

import "fmt"

// What tests look at from inside.
var (
	Decide = decide
	Pause  = pause
)

// Unanswered is the prospect of a target that was not asked.
const Unanswered = unanswered

// LimitPages lets the database be no larger, as a full disk does.
func (r *Relay) LimitPages(n int) error {
	var now int
	return r.store.db.QueryRow(fmt.Sprintf("PRAGMA max_page_count = %d", n)).Scan(&now)
}
