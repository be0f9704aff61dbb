package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each variable of the checklist, as pipelines set it.
func TestDoctorSettings(t *testing.T) {
	t.Parallel()
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	azureVars := map[string]string{"AKS_CLUSTER_NAME": "c", "AKS_RESOURCE_GROUP": "g", "AZURE_SUBSCRIPTION_ID": id, "AZURE_TENANT_ID": id, "AZURE_CLIENT_ID": id}
	acr := map[string]string{"ACR_LOGIN_SERVER": "myregistry.azurecr.io", "ACR_USERNAME": "u", "ACR_PASSWORD": "p"}
	without := func(vars map[string]string, name string) map[string]string {
		out := map[string]string{}
		for k, v := range vars {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	with := func(vars map[string]string, name, value string) map[string]string {
		out := without(vars, "")
		out[name] = value
		return out
	}
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const aks, there = "kubernetes://production/inference-service", "myregistry.azurecr.io/iris"
	for _, tt := range []struct {
		name, image, to string
		vars            map[string]string
		about           string
		want            standing
		says            string
	}{
		{"no model registry", there, aks, nil, "MLFLOW_TRACKING_URI", fails, "not set"},
		{"a model registry", there, aks, map[string]string{"MLFLOW_REGISTRY_URI": "http://x"}, "MLFLOW_TRACKING_URI", works, "set"},
		{"all for ACR", there, aks, acr, "ACR_LOGIN_SERVER", works, "set"},
		{"the user for ACR", there, aks, acr, "ACR_USERNAME", works, "set"},
		{"the password for ACR", there, aks, acr, "ACR_PASSWORD", works, "set"},
		{"no password", there, aks, without(acr, "ACR_PASSWORD"), "ACR_PASSWORD", fails, "neither is used"},
		{"no user", there, aks, without(acr, "ACR_USERNAME"), "ACR_USERNAME", fails, "neither is used"},
		{"no server", there, aks, without(acr, "ACR_LOGIN_SERVER"), "ACR_LOGIN_SERVER", fails, "for nobody"},
		{"another server", there, aks, with(acr, "ACR_LOGIN_SERVER", "other.azurecr.io"), "ACR_LOGIN_SERVER", fails, "another image registry than myregistry.azurecr.io"},
		{"a server as a URL", there, aks, with(acr, "ACR_LOGIN_SERVER", "https://MyRegistry.azurecr.io/"), "ACR_LOGIN_SERVER", works, "set"},
		{"a server with a path", there, aks, with(acr, "ACR_LOGIN_SERVER", "myregistry.azurecr.io/iris"), "ACR_LOGIN_SERVER", fails, "has a path"},
		{"no credentials for ACR", there, aks, nil, "ACR_PASSWORD", skipped, "Azure's sign-in"},
		{"a server without an image", "", aks, map[string]string{"ACR_LOGIN_SERVER": "myregistry.azurecr.io"}, "ACR_LOGIN_SERVER", works, "set"},
		{"Azure in China", "myregistry.azurecr.cn/iris", aks, nil, "ACR_PASSWORD", skipped, "Azure's sign-in"},
		{"no Azure registry", "ghcr.io/a/iris", aks, nil, "ACR_PASSWORD", skipped, "ghcr.io is no Azure Container Registry"},
		{"all for AKS", there, aks, azureVars, "AKS_CLUSTER_NAME", works, "set"},
		{"no cluster's name", there, aks, without(azureVars, "AKS_CLUSTER_NAME"), "AKS_CLUSTER_NAME", fails, "not set"},
		{"no group", there, aks, without(azureVars, "AKS_RESOURCE_GROUP"), "AKS_RESOURCE_GROUP", fails, "not set"},
		{"no subscription", there, aks, without(azureVars, "AZURE_SUBSCRIPTION_ID"), "AZURE_SUBSCRIPTION_ID", fails, "not set"},
		{"a subscription's name", there, aks, with(azureVars, "AZURE_SUBSCRIPTION_ID", "Pay as you go"), "AZURE_SUBSCRIPTION_ID", fails, "of the form"},
		{"no tenant", there, aks, without(azureVars, "AZURE_TENANT_ID"), "AZURE_TENANT_ID", skipped, "az login or a managed identity"},
		{"a managed identity", there, aks, without(azureVars, "AZURE_TENANT_ID"), "AZURE_CLIENT_ID", works, "set"},
		{"no client", there, aks, without(azureVars, "AZURE_CLIENT_ID"), "AZURE_CLIENT_ID", skipped, "az login or a managed identity"},
		{"az login in a tenant", there, aks, without(azureVars, "AZURE_CLIENT_ID"), "AZURE_TENANT_ID", works, "set"},
		{"a tenant's name", there, aks, with(azureVars, "AZURE_TENANT_ID", "contoso"), "AZURE_TENANT_ID", fails, "of the form"},
		{"a tenant's domain", there, aks, with(azureVars, "AZURE_TENANT_ID", "contoso.onmicrosoft.com"), "AZURE_TENANT_ID", works, "set"},
		{"a context", there, aks + "?context=c", without(azureVars, "AKS_CLUSTER_NAME"), "AKS_CLUSTER_NAME", skipped, "the target names a context"},
		{"az login", there, aks, without(without(azureVars, "AZURE_CLIENT_ID"), "AZURE_TENANT_ID"), "AZURE_CLIENT_ID", skipped, "az login or a managed identity"},
		{"nothing names it", there, aks, nil, "AKS_CLUSTER_NAME", skipped, "not set: a cluster in Azure is named by them"},
		{"no file there", there, aks, map[string]string{"KUBECONFIG": kubeconfig + "-"}, "AKS_CLUSTER_NAME", skipped, "not set: a cluster in Azure is named by them"},
		{"in a pod", there, aks, map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "AKS_CLUSTER_NAME", skipped, "that of the pod this runs in"},
		{"a kubeconfig in a pod", there, aks, map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBECONFIG": kubeconfig}, "AKS_CLUSTER_NAME", skipped, "the kubeconfig names the cluster"},
		{"a kubeconfig", there, aks, map[string]string{"KUBECONFIG": kubeconfig}, "AKS_CLUSTER_NAME", skipped, "the kubeconfig names the cluster"},
		{"both", there, aks, with(azureVars, "KUBECONFIG", "k"), "AKS_CLUSTER_NAME", skipped, "KUBECONFIG is set"},
		{"this machine", there, "local://127.0.0.1:8000", azureVars, "AKS_CLUSTER_NAME", skipped, "the target is this machine"},
		{"no target", there, "", azureVars, "AKS_CLUSTER_NAME", skipped, "no target is named"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := settings{image: tt.image}
			if tt.to != "" {
				if err := s.setTarget(tt.to); err != nil {
					t.Fatal(err)
				}
			}
			d := &doctor{p: &program{getenv: func(name string) string { return tt.vars[name] }}, releases: []settings{s}}
			f := diagnosis{Findings: d.settings(t.Context())}.about(t, "setting", tt.about)
			if f.Mark != tt.want || !strings.Contains(f.Found, tt.says) || (f.Mark == fails) != (f.Fix != "") {
				t.Errorf("%+v, want %s: %q", f, tt.want, tt.says)
			}
		})
	}
}

// The command that sets a variable is that of the place where it is missing.
func TestDoctorSaysHowToSetIt(t *testing.T) {
	t.Parallel()
	for want, vars := range map[string]map[string]string{
		"gh secret set ACR_PASSWORD":      {"GITHUB_ACTIONS": "true"},
		"az pipelines variable-group":     {"TF_BUILD": "True"},
		"export ACR_PASSWORD":             {},
		"export ACR_PASSWORD=…":           {"GITHUB_ACTIONS": "false"},
		"and pass it in the workflow's e": {"GITHUB_ACTIONS": "true"},
	} {
		d := &doctor{p: &program{getenv: func(name string) string { return vars[name] }}}
		if got := d.setting("ACR_PASSWORD"); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", vars, got, want)
		}
	}
}

// No value of a variable is shown, whatever is wrong.
func TestDoctorKeepsSecrets(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	var planted []string
	for _, name := range []string{
		"ACR_USERNAME", "ACR_PASSWORD", "AKS_CLUSTER_NAME", "AKS_RESOURCE_GROUP", "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID",
		"AZURE_CLIENT_SECRET", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
	} {
		secret := "planted-" + strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		w.vars[name], planted = secret, append(planted, secret)
	}
	w.vars["MLFLOW_TRACKING_USERNAME"] = "ada"
	w.vars["ACR_LOGIN_SERVER"] = w.vars["IMAGES"]
	w.vars["MLFLOW_TRACKING_URI"] = strings.Replace(w.vars["MLFLOW_TRACKING_URI"], "://", "://ada:planted-in-url@", 1)
	for _, form := range []string{"text", "json"} {
		_, said := w.slipway(t.Context(), nil, "doctor", "models:/iris@champion", "-o", form, "--to", "local://"+w.vars["ADDRESS"])
		for _, secret := range append(planted, "planted-in-url") {
			if strings.Contains(said, secret) {
				t.Errorf("%s is shown:\n%s", secret, said)
			}
		}
	}
}

// What people put into ACR_LOGIN_SERVER names the same repository everywhere.
func TestDefaultImage(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{"r.azurecr.io": "r.azurecr.io/iris", "https://R.azurecr.io/": "r.azurecr.io/iris", "": ""} {
		getenv := func(name string) string { return when(name == "ACR_LOGIN_SERVER", server) }
		s, err := merge(modelFlags{Model: "models:/iris@champion"}, placeFlags{}, configModel{}, configEnvironment{}, getenv)
		if err != nil || s.image != want {
			t.Errorf("deploy with %q: %q, %v, want %q", server, s.image, err, want)
		}
		if got := (surroundings{}).imageFor(&program{getenv: getenv}, "iris"); got != want {
			t.Errorf("init with %q: %q, want %q", server, got, want)
		}
		d, err := doctorCommand{}.doctor(&program{getenv: getenv}, &cli{})
		if err != nil || strings.Replace(d.releases[0].image, "slipway", "iris", 1) != want {
			t.Errorf("doctor with %q: %+v, %v, want %q", server, d.releases, err, want)
		}
	}
}
