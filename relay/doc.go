// Package relay starts a release when MLflow promotes a version. It receives
// MLflow's webhooks, and looks by itself at what is promoted, because MLflow
// sends nothing when a stage changes and loses deliveries when it restarts.
//
// A delivery is a hint and nothing more: whoever gets one asks the model
// registry what is promoted now, and the target what it knows of that version.
// What is then to be done is decided by one pure function (decide), whatever
// caused the look.
//
// Each model and environment has a keeper: a goroutine that does one thing at a
// time. It stores that it is about to start a release before it does, and what
// came of it afterwards, in a SQLite database, so that a relay that dies in
// between asks whether the run is there before it starts one again.
package relay
