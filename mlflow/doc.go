// Package mlflow talks to one MLflow server over REST: it resolves model
// references to versions, downloads a version's files, and writes tags,
// aliases and stages back.
//
// It owns everything that is peculiar to MLflow's wire: its errors that are
// not JSON, listings that answer a missing folder as an empty one, artifacts
// without checksums. It reads no model and no environment, and never sends
// credentials to another host than the configured one.
//
// What it does follows MLflow 3.17 as observed; 2.x servers work where they
// have the routes.
package mlflow
