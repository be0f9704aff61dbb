package relay

import (
	"fmt"
	"time"
)

// What tests look at from inside.
const (
	MaxConns  = maxConns
	MaxLarge  = maxLarge
	SmallBody = smallBody
)

var (
	Decide = decide
	Pause  = pause
	Sign   = sign
)

// Unanswered is the prospect of a target that was not asked.
const Unanswered = unanswered

// LimitBody bounds how long a delivery may take to arrive.
func (r *Relay) LimitBody(d time.Duration) { r.body = d }

// LimitPages lets the database be no larger, as a full disk does.
func (r *Relay) LimitPages(n int) error {
	var now int
	return r.store.db.QueryRow(fmt.Sprintf("PRAGMA max_page_count = %d", n)).Scan(&now)
}

// NextPoll is nextPoll.
var NextPoll = nextPoll
