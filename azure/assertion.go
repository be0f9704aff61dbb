package azure

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/slipway-dev/slipway"
)

// assertion returns a signed statement of who we are (RFC 7523).
type assertion func(context.Context) (string, error)

// noted is the assertion for azidentity, whose errors are notes for us: it
// passes on no more than their text.
func (f assertion) noted(ctx context.Context) (string, error) {
	text, err := f(ctx)
	note(ctx, err)
	return text, err
}

// given is an assertion that cannot be had anew.
func given(text string) assertion {
	return func(context.Context) (string, error) { return text, nil }
}

// fromFile reads the assertion each time: whoever put the file there renews it.
func fromFile(path string) assertion {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", (&slipway.Error{Op: signingIn, Code: slipway.Unauthorized, Message: "the federated token cannot be read", Err: err}).
				WithHint("AZURE_FEDERATED_TOKEN_FILE names a file with a token; in a pod, the label azure.workload.identity/use: \"true\" brings it")
		}
		return strings.TrimSpace(string(data)), nil
	}
}

// fromGitHub asks the job's token service (GitHub Docs, "OpenID Connect
// reference", "Methods for requesting the OIDC token").
func (a *Account) fromGitHub(ctx context.Context) (string, error) {
	var out struct {
		Value string `json:"value"`
	}
	err := a.askForAssertion(ctx, http.MethodGet, githubURL.of(a.getenv), url.Values{"audience": {a.cloud.audience}}, githubToken.of(a.getenv), &out)
	if err == nil && out.Value == "" {
		err = emptyAssertion("GitHub")
	}
	return out.Value, hinted(err, "give the job `permissions: {id-token: write}`; a pull request from a fork gets no token")
}

// fromDevOps asks Azure Pipelines for a token of the service connection (Azure
// DevOps REST API 7.1, "Oidctoken - Create").
func (a *Account) fromDevOps(ctx context.Context) (string, error) {
	var out struct {
		Token string `json:"oidcToken"`
	}
	query := url.Values{"api-version": {"7.1"}, "serviceConnectionId": {devopsService.of(a.getenv)}}
	err := a.askForAssertion(ctx, http.MethodPost, devopsURL.of(a.getenv), query, devopsToken.of(a.getenv), &out)
	if err == nil && out.Token == "" {
		err = emptyAssertion("Azure DevOps")
	}
	return out.Token, hinted(err, "map SYSTEM_ACCESSTOKEN: $(System.AccessToken) into the step, and let the pipeline use the service connection of AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")
}

func emptyAssertion(whose string) error {
	return slipway.Errorf(slipway.Unauthorized, signingIn, "%s's token service answered without a token", whose)
}

// askForAssertion asks a CI system's token service, which lets us in by the
// bearer token.
func (a *Account) askForAssertion(ctx context.Context, method, address string, query url.Values, bearer string, out any) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil { // err would quote it
		return slipway.Errorf(slipway.Invalid, signingIn, "the address of the CI system's token service is no https URL")
	}
	all := u.Query()
	for name, values := range query {
		all[name] = values
	}
	u.RawQuery = all.Encode()
	req, err := runtime.NewRequest(ctx, method, u.String())
	if err != nil {
		return slipway.Errorf(slipway.Internal, signingIn, "a malformed request to the token service at %s", u.Host)
	}
	req.Raw().Header.Set("Authorization", "Bearer "+bearer)
	req.Raw().Header.Set("Accept", "application/json")
	req.Raw().Header.Set("X-TFS-FedAuthRedirect", "Suppress") // Azure DevOps: 401, not a login page
	return a.ask(ctx, req, signingIn, out)
}

// ask sends a request, again where that may help, and decodes the answer.
func (a *Account) ask(ctx context.Context, req *policy.Request, op string, out any) error {
	options := a.options()
	resp, err := runtime.NewPipeline("slipway", "", runtime.PipelineOptions{}, &options).Do(req)
	host := req.Raw().URL.Host
	if err != nil {
		return unreachable(ctx, op, host, err)
	}
	defer resp.Body.Close()
	body, err := runtime.Payload(resp)
	if err != nil {
		return unreachable(ctx, op, host, err)
	}
	if resp.StatusCode != http.StatusOK {
		said := readFailure(body)
		said.text = a.redact(said.text)
		return refusal{op: op, host: host, status: resp.StatusCode, said: said}.err()
	}
	if json.Unmarshal(body, out) != nil { // its error may quote the answer, which holds a token
		return slipway.Errorf(slipway.Corrupt, op, "the answer of %s is no JSON of the expected form", host)
	}
	return nil
}
