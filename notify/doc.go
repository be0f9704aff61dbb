// Package notify tells people and programs how a release ended: in Slack, in
// Microsoft Teams, by e-mail, as a deployment status on GitHub, and as a
// CloudEvent to any address.
//
// A Notifier tells one message to one channel. A Herald tells it to all of
// them, beside the release's own work: the release never waits for it and never
// fails because of it.
//
// Model names, messages of pods and all else in a Message come from outside.
// Each format carries them as plain text, where nothing in them is markup, a
// mention or a link.
package notify
