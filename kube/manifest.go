package kube

import (
	"regexp"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/k8s"
)

// Manifest returns the project's manifest, with its comments, under the names
// of the reference: what Create makes, for people to keep and apply.
func Manifest(ref slipway.TargetRef) []byte {
	documents := strings.Split(string(k8s.Production), "\n---\n")
	for i, text := range documents {
		if strings.Contains(text, "\nkind: Role") {
			text = roleName.ReplaceAllString(text, "${1}\x01")
		}
		text = strings.ReplaceAll(text, manifestName, "\x00") // or one of the names might be taken for the other
		text = inNamespace.ReplaceAllString(text, "${1}"+ref.Namespace+"${2}")
		documents[i] = strings.NewReplacer("\x00", ref.Name, "\x01", roleOf(ref.Name)).Replace(text)
	}
	return []byte(strings.Join(documents, "\n---\n"))
}

var (
	// The names of Role and RoleBinding, and not that of the account below them.
	roleName = regexp.MustCompile(`(?m)^(  name: )` + manifestRole + `$`)
	// The namespace where one stands: in fields, and in the comments' commands
	// and references.
	inNamespace = regexp.MustCompile(`(?m)(^ +namespace: |^  name: |kubernetes://|-n |deployment-)` + manifestNamespace + `($|/|\.yaml$)`)
)
