package docker_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
)

// What docker and BuildKit say, and what it means. The texts are theirs, of
// Docker 20.10 to 29.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		said       string
		code       slipway.Code
		want, hint string
	}{
		"no engine": {"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n", slipway.Unavailable,
			"does not answer", "systemctl start docker"},
		"no engine, Docker 29": {"failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory\n",
			slipway.Unavailable, "does not answer", "DOCKER_HOST"},
		"not allowed": {"permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version\": dial unix /var/run/docker.sock: connect: permission denied\n",
			slipway.Unauthorized, "may not use", "usermod -aG docker $USER"},
		"no buildx":    {"docker: 'buildx' is not a docker command.\nSee 'docker --help'\n", slipway.NotFound, "no buildx", "docker-buildx-plugin"},
		"no builder":   {"ERROR: no builder \"mine\" found\n", slipway.NotFound, "no builder mine", "docker buildx ls"},
		"full":         {"#5 ERROR: write /x: no space left on device\nERROR: failed to solve: write /x: no space left on device\n", slipway.Exhausted, "disk is full", "docker system prune"},
		"unknown word": {"#1 DONE 0.0s\nERROR: failed to solve: dockerfile parse error on line 7: unknown instruction: RUNN\n", slipway.Invalid, "line 7 of the Dockerfile: unknown instruction: RUNN", "mend"},
		"unknown word, Docker 20": {"error: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: RUNN\n",
			slipway.Invalid, "line 2 of the Dockerfile: unknown instruction: RUNN", "mend"},
		"copies what is not there, Docker 20": {"ERROR: failed to build: failed to solve: failed to compute cache key: \"/certs\" not found: not found\n", slipway.NotFound, "copies /certs", "docs/docker.md"},
		"no such stage, Docker 20": {"ERROR: failed to build: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to create LLB definition: target stage native could not be found\n",
			slipway.Invalid, "no stage native", "stage"},
		"nobody listens": {"ERROR: failed to build: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to create LLB definition: failed to do request: Head \"http://127.0.0.1:9/v2/nowhere/manifests/1\": dial tcp 127.0.0.1:9: connect: connection refused\n",
			slipway.Unavailable, "out of reach: 127.0.0.1:9", "--base"},
		"copies what is not there": {"ERROR: failed to solve: failed to compute cache key: failed to calculate checksum of ref 1a2b::3c4d: \"/certs\": not found\n", slipway.NotFound, "copies /certs", "docs/docker.md"},
		"no such stage":            {"ERROR: failed to solve: target stage \"native\" could not be found\n", slipway.Invalid, "no stage native", "stage"},
		"no such base":             {"ERROR: failed to solve: nowhere.example/base:1: failed to resolve source metadata for nowhere.example/base:1: nowhere.example/base:1: not found\n", slipway.NotFound, "no base image nowhere.example/base:1", "FROM"},
		"no such base, Docker 20": {"ERROR: failed to build: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to create LLB definition: 127.0.0.1:35071/no/bread:1: not found\n",
			slipway.NotFound, "no base image 127.0.0.1:35071/no/bread:1", "after FROM"},
		"no such base, of the engine": {"Error response from daemon: manifest for python:9 not found: manifest unknown: manifest unknown\n", slipway.NotFound, "no base image python:9", "after FROM"},
		"base refused": {"ERROR: failed to solve: secret/base:1: failed to resolve source metadata for docker.io/secret/base:1: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed\n",
			slipway.Unauthorized, "refuses the base image", "docker login"},
		"registry out of reach": {"ERROR: failed to solve: python:3.11-slim: failed to resolve source metadata for docker.io/library/python:3.11-slim: failed to do request: Head \"https://registry-1.docker.io/v2/library/python/manifests/3.11-slim\": dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: no such host\n",
			slipway.Unavailable, "registry-1.docker.io", "--base"},
		"other processor": {"ERROR: failed to solve: base:1: no match for platform in manifest sha256:4be1: not found\n", slipway.NotFound, "not for this platform", "--platform"},
		"unknown":         {"ERROR: failed to solve: the moon is full\n", slipway.Internal, "the moon is full", "by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := docker.Failure("building", docker.Plain(test.said))
			if slipway.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) || !strings.Contains(slipway.HintOf(err), test.hint) {
				t.Errorf("code %s, hint %q\n%v", slipway.CodeOf(err), slipway.HintOf(err), err)
			}
		})
	}
}

// A command of the Dockerfile that failed is named with its line, and what it
// wrote last is shown.
func TestAStepThatFailed(t *testing.T) {
	t.Parallel()
	const head = "#8 [packages 3/3] RUN pip install -r /requirements.txt\n#7 0.3 other step\n"
	const tail = "#8 ERROR: process \"/bin/sh -c pip install -r /requirements.txt\" did not complete successfully: exit code: 1\n------\n > [packages 3/3] RUN pip install:\n0.512 said again\n------\n" +
		"Dockerfile:14\n--------------------\n  12 |     \n  14 | >>> RUN pip install -r /requirements.txt\n--------------------\nERROR: failed to solve: process \"/bin/sh -c pip install -r /requirements.txt\" did not complete successfully: exit code: 1\n"
	for name, test := range map[string]struct {
		output, tail string
		code         slipway.Code
		want, hint   string
	}{
		"a package that is not there": {"#8 0.512 ERROR: No matching distribution found for nowhere\n", tail, slipway.Invalid, "line 14 of the Dockerfile: pip install -r /requirements.txt: exit code 1: ERROR: No matching", "mend that line"},
		"other hashes":                {"#8 0.512 ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n", tail, slipway.Corrupt, "exit code 1", "--upgrade"},
		"no network":                  {"#8 0.512 Temporary failure in name resolution\n", tail, slipway.Unavailable, "exit code 1", "proxies"},
		"killed":                      {"", strings.ReplaceAll(tail, "exit code: 1", "exit code: 137"), slipway.Exhausted, "exit code 137", "memory"},
		"Docker 20": {"#8 0.512 oh no\n", "#8 ERROR: executor failed running [/bin/sh -c pip install -r /requirements.txt]: exit code: 1\n------\n > [packages]:\n------\n" +
			"ERROR: failed to solve: rpc error: code = Unknown desc = executor failed running [/bin/sh -c pip install -r /requirements.txt]: exit code: 1\n",
			slipway.Invalid, "pip install -r /requirements.txt: exit code 1: oh no", "mend"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := docker.Failure("building", docker.Plain(head+test.output+test.tail))
			if slipway.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) || !strings.Contains(slipway.HintOf(err), test.hint) {
				t.Errorf("code %s, hint %q\n%v", slipway.CodeOf(err), slipway.HintOf(err), err)
			}
			if strings.Contains(err.Error(), "other step") {
				t.Errorf("it shows another step: %v", err)
			}
		})
	}
}

// BuildKit of Docker 20 does not say the line: it is found by the instruction.
func TestTheLineThatFailed(t *testing.T) {
	t.Parallel()
	const dockerfile = "ARG BASE=x\n\nFROM ${BASE}\n# RUN nothing\nRUN apt-get update \\\n # a comment\n  && apt-get install -y  nowhere\nUSER 1\n"
	const said = "#5 ERROR: executor failed running [/bin/sh -c apt-get update   && apt-get install -y  nowhere]: exit code: 100\n------\n" +
		" > [2/2] RUN apt-get update   && apt-get install -y  nowhere:\n------\n" +
		"ERROR: failed to build: failed to solve: executor failed running [/bin/sh -c apt-get update   && apt-get install -y  nowhere]: exit code: 100\n"
	err := docker.StepFailure("building", said, dockerfile)
	if want := "line 5 of the Dockerfile: apt-get update && apt-get install -y nowhere: exit code 100"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	const copies = "#6 [2/2] COPY bread /bread\n#6 ERROR: \"/bread\" not found: not found\n------\n > [2/2] COPY bread /bread:\n------\n" +
		"ERROR: failed to build: failed to solve: failed to compute cache key: \"/bread\" not found: not found\n"
	err = docker.StepFailure("building", copies, "FROM x\n\nCOPY  bread /bread\n")
	if want := "line 3 of the Dockerfile copies /bread"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	const source = "Dockerfile:2\n--------------------\n   2 | >>> COPY nothing /x\n--------------------\n" +
		"ERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum of ref z7a5::lrqk: \"/nothing\": not found\n"
	if err := docker.Failure("building", source); err == nil || !strings.Contains(err.Error(), "line 2 of the Dockerfile copies /nothing") {
		t.Errorf("%v", err)
	}
	if err := docker.StepFailure("building", said, "FROM y\n"); err == nil || !strings.Contains(err.Error(), "building: the Dockerfile: apt-get") {
		t.Errorf("%v", err)
	}
}

func TestPlainHidesWhatMustNotBeTold(t *testing.T) {
	t.Parallel()
	got := docker.Plain("\x1b[31mLooking in https://ada:se@same@pypi.example/simple\x1b[0m\r\nnext\u202eline\x07\n")
	if want := "Looking in https://pypi.example/simple\nnextline\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Errors of the disk are told as what they are.
func TestFileFailures(t *testing.T) {
	t.Parallel()
	known := slipway.Errorf(slipway.Corrupt, "x", "y")
	for want, err := range map[slipway.Code]error{
		"": nil, slipway.Exhausted: fmt.Errorf("x: %w", syscall.ENOSPC), slipway.NotFound: fs.ErrNotExist, slipway.Unauthorized: syscall.EACCES,
		slipway.Invalid: syscall.ENOTDIR, slipway.Unavailable: io.ErrUnexpectedEOF, slipway.Corrupt: known,
	} {
		got := docker.FileFailure("building", err)
		if slipway.CodeOf(got) != want || want != slipway.Exhausted && got != nil && strings.Contains(got.Error()+slipway.HintOf(got), "disk is full") {
			t.Errorf("%v: code %q, hint %q", got, slipway.CodeOf(got), slipway.HintOf(got))
		}
		if got != nil && want != slipway.Corrupt && slipway.HintOf(got) == "" {
			t.Errorf("%v: nothing mends it", got)
		}
	}
	if err := docker.FileFailure("building", context.Canceled); err != context.Canceled { //nolint:errorlint // unchanged
		t.Errorf("%v", err)
	}
}

func FuzzFailure(f *testing.F) {
	f.Add("ERROR: failed to solve: $1 ${2} x: not found\n")
	f.Add("#8 ERROR: process \"x\" did not complete successfully: exit code: 1\nERROR: process \"x\" did not complete successfully: exit code: 1\n")
	f.Fuzz(func(t *testing.T, said string) {
		err := docker.Failure("building", docker.Plain(said))
		if slipway.CodeOf(err) == "" || slipway.HintOf(err) == "" || len(err.Error()) > 8000 {
			t.Errorf("code %q, hint %q, %d bytes", slipway.CodeOf(err), slipway.HintOf(err), len(err.Error()))
		}
	})
}
