package main

import (
	"github.com/alecthomas/kong"
)

// version is set by the release build.
var version = ""

// cli is the command line. Reading order: the whole story, one step a time,
// looking, deciding.
type cli struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Form of the result on stdout: text or json."`
	Config string `placeholder:"FILE" help:"The configuration; slipway.yaml in the working directory where there is one."`

	Demo   demoCommand   `cmd:"" group:"whole" help:"Show the whole story on this machine: promote, replace under load, roll back."`
	Deploy deployCommand `cmd:"" group:"whole" help:"Bring a model version to its target: everything, from the reference to verified or rolled back."`
	Plan   planCommand   `cmd:"" group:"whole" help:"Say what a deploy would change and cost. Changes nothing."`

	Init       initCommand       `cmd:"" group:"whole" help:"Write slipway.yaml, a GitHub workflow or an Azure pipeline, and a Kubernetes manifest into a repository."`
	Pending    pendingCommand    `cmd:"" group:"whole" help:"List what is promoted and not live yet. Changes nothing."`
	Relay      relayCommand      `cmd:"" group:"whole" help:"Receive MLflow's webhooks, look at what is promoted, and start the workflow, the pipeline or the release itself. Runs until it is stopped."`
	RelayImage relayImageCommand `cmd:"" group:"whole" help:"Make an image of this program for slipway relay in a cluster, and push it."`
	Webhook    webhookCommand    `cmd:"" group:"whole" help:"Manage the webhook by which MLflow tells of promotions."`

	Extract  extractCommand  `cmd:"" group:"steps" help:"Resolve the model reference and write release.json."`
	Validate validateCommand `cmd:"" group:"steps" help:"Download the model and check that it can be served."`
	Build    buildCommand    `cmd:"" group:"steps" help:"Make the golden predictions and the image."`
	Push     pushCommand     `cmd:"" group:"steps" help:"Upload what the image registry lacks and read it back."`
	Rollout  rolloutCommand  `cmd:"" group:"steps" help:"Replace what serves on the target; ends unverified."`
	Verify   verifyCommand   `cmd:"" group:"steps" help:"Ask every new replica for its golden predictions; roll back on any difference."`
	Rollback rollbackCommand `cmd:"" group:"steps" help:"Go back to the last verified release of the target, or to a version."`
	Notify   notifyCommand   `cmd:"" group:"steps" help:"Tell how the release ended, or how far it came."`

	Status  statusCommand  `cmd:"" group:"look" help:"Say what serves now, since when, and how it was proved."`
	History historyCommand `cmd:"" group:"look" help:"List the releases of a target, or what served at a time."`
	Explain explainCommand `cmd:"" group:"look" help:"Say why a release failed and which command mends it."`

	Doctor doctorCommand `cmd:"" group:"look" help:"Check every setting, credential and right that a release needs, and say how to mend each. Leaves nothing behind."`

	Recover recoverCommand `cmd:"" group:"target" help:"Finish or undo what a dead run left on the target."`
	Hold    holdCommand    `cmd:"" group:"target" help:"Freeze a target: releases answer held."`
	Resume  resumeCommand  `cmd:"" group:"target" help:"Let releases reach the target again."`
	Stop    stopCommand    `cmd:"" group:"target" help:"End what serves on a local target."`

	Version   versionCommand   `cmd:"" group:"other" help:"Print the version."`
	Supervise superviseCommand `cmd:"" hidden:"" help:"Keep the replicas of a local target running (started by the other commands)."`
}

var groups = []kong.Group{
	{Key: "whole", Title: "The whole way:"},
	{Key: "steps", Title: "One step a time, for CI jobs (they hand on release.json):"},
	{Key: "look", Title: "Looking:"},
	{Key: "target", Title: "Minding a target:"},
	{Key: "other", Title: "Other:"},
}

const description = `From a promotion in MLflow to verified predictions, and back when the model is bad.

Settings come from flags, then environment variables, then slipway.yaml.
The result goes to stdout, the story to stderr.
Exit codes: 0 live or nothing to do, 1 failed and nothing was changed, 2 wrong usage, 3 rolled back, 4 a person is needed, 130 interrupted.`

// newParser returns the parser of the command line and the environment it
// reads. Help goes to stdout; helped is called once it was printed.
func newParser(c *cli, p *program, helped func()) (*kong.Kong, *environment, error) {
	env := newEnvironment(p.getenv)
	parser, err := kong.New(c,
		kong.Name("slipway"),
		kong.Description(description),
		kong.ExplicitGroups(groups),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { helped() }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100, NoAppDescFormat: true}),
		kong.ValueFormatter(env.help),
		kong.Resolvers(env),
	)
	if err != nil {
		return nil, nil, err
	}
	env.adopt(parser.Model.Node)
	return parser, env, nil
}
