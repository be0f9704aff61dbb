package main

import (
	"bytes"
	"embed"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
)

// templates are the workflows and pipelines of this project's own repository,
// and what others' have instead: a test compares them, `make generate` copies
// them.
//
//go:embed template
var templates embed.FS

// ownFiles says where a template is in a repository.
var ownFiles = map[string]string{
	"github": ".github/workflows",
	"azure":  ".",
}

// elsewhere are the templates that only this project's own repository has so,
// by their path there, and what others have instead.
var elsewhere = map[string]string{"templates/build-slipway.yml": "template/elsewhere/build-slipway.yml"}

const (
	actionHere    = "uses: ./\n"
	actionOthers  = "uses: slipway-dev/slipway@v1\n"
	documentation = "https://github.com/slipway-dev/slipway/blob/main/docs/"
)

// document is a page of our documentation, which other repositories do not have.
var document = regexp.MustCompile(`\bdocs/([a-z-]+\.md)`)

// files are all that the plan wants in the repository, by their path.
func (plan initPlan) files() (map[string][]byte, error) {
	config, err := plan.configFile()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{defaultConfig: config}
	for system, wanted := range map[string]bool{"github": plan.github, "azure": plan.azure} {
		if !wanted {
			continue
		}
		if err := plan.render(files, system); err != nil {
			return nil, err
		}
	}
	if plan.ref.Scheme == "kubernetes" {
		files[manifestFile(plan.ref)] = plan.adapt(string(kube.Manifest(plan.ref)))
	}
	return files, nil
}

// manifestFile is where a repository has the manifest of a target.
func manifestFile(ref slipway.TargetRef) string { return "k8s/deployment-" + ref.Namespace + ".yaml" }

// render adds the files of a CI system.
func (plan initPlan) render(files map[string][]byte, system string) error {
	root := "template/" + system
	return fs.WalkDir(templates, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to := path.Join(ownFiles[system], strings.TrimPrefix(name, root+"/"))
		if other := elsewhere[to]; other != "" && !plan.own {
			name = other
		}
		data, err := templates.ReadFile(name)
		files[to] = plan.adapt(string(data))
		return err
	})
}

// adapt makes our file one of the plan's repository.
func (plan initPlan) adapt(text string) []byte {
	text = strings.ReplaceAll(text, "    default: production\n", "    default: "+scalar(plan.environment)+"\n")
	if plan.own {
		return []byte(text)
	}
	text = strings.ReplaceAll(text, actionHere, actionOthers)
	return []byte(document.ReplaceAllString(text, documentation+"$1"))
}

// configFile is slipway.yaml with the release the plan is about. What is there
// is added to, never rewritten: it has comments, and settings of its own.
func (plan initPlan) configFile() ([]byte, error) {
	have, err := decodeConfig(defaultConfig, plan.config)
	if err != nil {
		return nil, err
	}
	if have.has(plan) {
		return plan.config, nil
	}
	const head = "# What slipway brings where. All that can be said: https://github.com/slipway-dev/slipway/blob/main/examples/slipway.yaml\nmodels:\n"
	text, before := head+plan.entry("  "), strings.TrimRight(string(plan.config), "\n")
	switch {
	case len(have.Models) > 0:
		text = before + "\n" + plan.entry(indentOf(plan.config))
	case before != "":
		text = before + "\nmodels:\n" + plan.entry("  ")
	}
	if c, err := decodeConfig(defaultConfig, []byte(text)); err != nil || !c.has(plan) {
		return nil, slipway.Errorf(slipway.Conflict, "adding to "+defaultConfig, "nothing can be added to it as it is written; nothing was changed").
			WithHint("add it by hand:\n%s", plan.entry("  "))
	}
	return []byte(text), nil
}

// entry is the release as one of the list.
func (plan initPlan) entry(indent string) string {
	lines := []string{"- model: " + scalar(plan.model), "  image: " + scalar(plan.image)}
	if plan.environment == "production" {
		lines = append(lines, "  target: "+scalar(plan.target))
	} else {
		lines = append(lines, "  environments:", "    - name: "+scalar(plan.environment), "      target: "+scalar(plan.target))
	}
	return indent + strings.Join(lines, "\n"+indent) + "\n"
}

// numeral is what some YAML takes for a number: 1.0, 1e3, 0x1F.
var numeral = regexp.MustCompile(`^[0-9][0-9A-Za-z._+-]*$`)

// scalar is a text as YAML reads it again.
func scalar(text string) string {
	data, err := yaml.Marshal(text)
	if err != nil || bytes.Count(data, []byte("\n")) != 1 || numeral.MatchString(text) {
		return strconv.Quote(text)
	}
	return strings.TrimSpace(string(data))
}

var listItem = regexp.MustCompile(`(?m)^( *)- `)

// indentOf is how far the list of models is indented.
func indentOf(config []byte) string {
	if m := listItem.FindSubmatch(config); m != nil {
		return string(m[1])
	}
	return "  "
}

// has reports whether the configuration makes the plan's release. An entry
// without an image takes that of ACR_LOGIN_SERVER; beside it another for the
// same target would release everything twice.
func (c *config) has(plan initPlan) bool {
	return slices.ContainsFunc(c.Models, func(m configModel) bool {
		if m.Model != plan.model || m.Image != "" && m.Image != plan.image {
			return false
		}
		return m.Target == plan.target && plan.environment == "production" ||
			slices.ContainsFunc(m.Environments, func(e configEnvironment) bool { return e.Name == plan.environment && e.Target == plan.target })
	})
}
