// Package pipeline runs a YAML pipeline of Azure Pipelines on this machine, for
// tests: it reads the file and its templates, keeps to conditions, dependencies,
// variables and logging commands, and runs every script with bash, each job as
// on an agent of its own. Tasks are given by the test.
//
// It knows what this project's pipeline uses and refuses all else, so that no
// step is passed over in silence. How Azure Pipelines works is from Microsoft
// Learn ("Expressions", "Define variables", "Specify conditions", "Deployment
// jobs", "Logging commands") and the sources of azure-pipelines-agent and
// azure-pipelines-tasks.
package pipeline
