package main

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/oci"
)

// settings looks at the configuration and at the variables that pipelines set.
// It never shows a value: each of them may be a secret.
func (d *doctor) settings(context.Context) []finding {
	found := []finding{d.configuration(), d.registryVariable()}
	found = append(found, d.imageVariables()...)
	found = append(found, d.clusterVariables()...)
	return append(found, d.connections()...)
}

func (d *doctor) configuration() finding {
	if d.file == "" {
		return skip("setting", defaultConfig, "there is none; slipway init writes one")
	}
	return good("setting", d.file, "%s", plural(len(d.releases), "release"))
}

// registryVariable says whether the model registry is named. What it answers,
// another check tells.
func (d *doctor) registryVariable() finding {
	const name = "MLFLOW_TRACKING_URI"
	switch {
	case !d.needsModels():
		return skip("setting", name, "not needed: the models are directories")
	case d.named() == "":
		return bad("setting", name, d.setting(name), "not set: no model registry is named")
	}
	return good("setting", name, "set")
}

// named is the model registry's address, as it was given.
func (d *doctor) named() string {
	return orElse(d.releases[0].mlflowURI, d.p.getenv("MLFLOW_REGISTRY_URI"))
}

func (d *doctor) needsModels() bool {
	return slices.ContainsFunc(d.releases, func(s settings) bool { return s.ref.Path == "" })
}

// imageVariables are those for an Azure Container Registry.
func (d *doctor) imageVariables() []finding {
	server, user, password := d.p.getenv("ACR_LOGIN_SERVER"), d.p.getenv("ACR_USERNAME"), d.p.getenv("ACR_PASSWORD")
	hosts := d.imageHosts()
	if !slices.ContainsFunc(hosts, azure.IsRegistry) && server == "" && user == "" && password == "" {
		return skipSettings("not needed: "+orElse(strings.Join(hosts, ", ")+orNothing(" ", when(len(hosts) > 0, "is no Azure Container Registry")), "no image registry is named"),
			"ACR_LOGIN_SERVER", "ACR_USERNAME", "ACR_PASSWORD")
	}
	found := []finding{d.loginServerVariable(server, hosts)}
	const none = "not set: docker login's credentials are used, or Azure's sign-in"
	switch {
	case user == "" && password == "":
		found = append(found, skipSettings(none, "ACR_USERNAME", "ACR_PASSWORD")...)
	case password == "":
		found = append(found, good("setting", "ACR_USERNAME", "set"),
			bad("setting", "ACR_PASSWORD", d.setting("ACR_PASSWORD"), "not set, and ACR_USERNAME is: neither is used"))
	case user == "":
		found = append(found, bad("setting", "ACR_USERNAME", d.setting("ACR_USERNAME"), "not set, and ACR_PASSWORD is: neither is used"),
			good("setting", "ACR_PASSWORD", "set"))
	default:
		found = append(found, good("setting", "ACR_USERNAME", "set"), good("setting", "ACR_PASSWORD", "set"))
	}
	return found
}

func (d *doctor) loginServerVariable(server string, hosts []string) finding {
	const name = "ACR_LOGIN_SERVER"
	host := oci.LoginServer(server)
	switch {
	case server == "" && (d.p.getenv("ACR_USERNAME") != "" || d.p.getenv("ACR_PASSWORD") != ""):
		return bad("setting", name, d.setting(name), "not set: ACR_USERNAME and ACR_PASSWORD are for nobody")
	case server == "":
		return skip("setting", name, "not needed: each image names its image registry")
	case strings.Contains(host, "/"):
		return bad("setting", name, d.setting(name), "is no host: it has a path")
	case len(hosts) > 0 && !slices.Contains(hosts, host):
		return bad("setting", name, d.setting(name), "names another image registry than %s, which gets no credentials so", strings.Join(hosts, ", "))
	}
	return good("setting", name, "set")
}

// imageHosts are the image registries, each once.
func (d *doctor) imageHosts() []string {
	var hosts []string
	for _, repository := range d.repositories() {
		if host, err := oci.Host(repository); err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// clusterVariables are those for a cluster that Azure runs. Either of the first
// two says that it is one.
func (d *doctor) clusterVariables() []finding {
	names := []string{"AKS_CLUSTER_NAME", "AKS_RESOURCE_GROUP", "AZURE_SUBSCRIPTION_ID"}
	identity := []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID"}
	switch {
	case !d.inCluster():
		return skipSettings("not needed: "+d.noCluster(), append(names, identity...)...)
	case !d.askedOfAzure():
		return skipSettings("not used: the target names a context, and that goes before", append(names, identity...)...)
	case d.p.getenv(names[0]) == "" && d.p.getenv(names[1]) == "":
		return skipSettings(d.namedOtherwise(), append(names, identity...)...)
	case d.p.getenv("KUBECONFIG") != "":
		return skipSettings("not used: KUBECONFIG is set, and goes before", append(names, identity...)...)
	}
	var found []finding
	for _, name := range names {
		found = append(found, d.required(name))
	}
	for _, name := range identity { // either alone is enough for az login or a managed identity
		if d.p.getenv(name) == "" {
			found = append(found, skip("setting", name, "not set: az login or a managed identity signs in"))
			continue
		}
		found = append(found, d.required(name))
	}
	return found
}

// askedOfAzure reports whether a cluster is left to Azure to find: none whose
// target names a context is.
func (d *doctor) askedOfAzure() bool {
	return slices.ContainsFunc(d.releases, func(s settings) bool { return s.to.Scheme == "kubernetes" && s.to.Query.Get("context") == "" })
}

// namedOtherwise says what names the cluster where Azure is not asked.
func (d *doctor) namedOtherwise() string {
	switch {
	case d.hasKubeconfig():
		return "not needed: the kubeconfig names the cluster"
	case d.p.getenv("KUBERNETES_SERVICE_HOST") != "": // Kubernetes sets it in each pod
		return "not needed: the cluster is that of the pod this runs in"
	}
	return "not set: a cluster in Azure is named by them, any other by a kubeconfig"
}

// hasKubeconfig reports whether one is there.
func (d *doctor) hasKubeconfig() bool {
	files := filepath.SplitList(d.p.getenv("KUBECONFIG"))
	if len(files) == 0 {
		files = []string{filepath.Join(d.p.getenv("HOME"), ".kube", "config")}
	}
	return slices.ContainsFunc(files, exists)
}

func (d *doctor) inCluster() bool {
	return slices.ContainsFunc(d.releases, func(s settings) bool { return s.to.Scheme == "kubernetes" })
}

func (d *doctor) noCluster() string {
	if len(d.targets()) == 0 {
		return "no target is named"
	}
	return "the target is this machine"
}

// uuid is the form of Azure's ids (RFC 9562, 4). A tenant has domains, too.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (d *doctor) required(name string) finding {
	value := d.p.getenv(name)
	switch {
	case value == "":
		return bad("setting", name, d.setting(name), "not set")
	case name == "AZURE_TENANT_ID" && strings.Contains(value, "."):
	case strings.HasSuffix(name, "_ID") && !uuid.MatchString(value):
		return bad("setting", name, d.setting(name), "is not of the form 01234567-89ab-cdef-0123-456789abcdef")
	}
	return good("setting", name, "set")
}

func skipSettings(why string, names ...string) []finding {
	var all []finding
	for _, name := range names {
		all = append(all, skip("setting", name, "%s", why))
	}
	return all
}

// setting is the command that sets a variable where this runs.
func (d *doctor) setting(name string) string {
	switch {
	case d.p.getenv("GITHUB_ACTIONS") == "true":
		return "gh secret set " + name + ", and pass it in the workflow's env"
	case strings.EqualFold(d.p.getenv("TF_BUILD"), "true"):
		return "az pipelines variable-group variable create --group-id ID --secret true --name " + name + ", and map it in the step's env"
	}
	return "export " + name + "=…"
}

// connections are Azure DevOps' own settings, which a pipeline can use and not
// look at.
func (d *doctor) connections() []finding {
	if !exists(pipelineFile) || d.p.getenv("GITHUB_ACTIONS") == "true" {
		return nil
	}
	if strings.EqualFold(d.p.getenv("TF_BUILD"), "true") {
		return []finding{good("setting", "service connections", "this run has them: Azure Pipelines starts none that names one it does not have")}
	}
	return []finding{skip("setting", "service connections", "not visible from here: Azure Pipelines says at once which one is missing; az devops service-endpoint list shows them")}
}

// pipelineFile is where a repository has its Azure pipeline.
const pipelineFile = "azure-pipelines.yml"
