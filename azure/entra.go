package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/slipway-dev/slipway"
)

// signInFailure says why there is no token. The library's own text is only
// used where it cannot quote an answer.
func (a *Account) signInFailure(ctx context.Context, err, wire error) error {
	var ours *slipway.Error
	var refused *azidentity.AuthenticationFailedError
	switch {
	case errors.As(wire, &ours):
		return ours
	case ctx.Err() != nil:
		return interrupted(ctx)
	case a.byLuck(): // on the way to nothing, a machine's identity may have been out of reach
		return a.nothing(err)
	case wire != nil:
		return unreachable(ctx, signingIn, "Microsoft Entra", wire)
	case errors.As(err, &refused) && refused.RawResponse != nil:
		return a.refusedByEntra(refused.RawResponse)
	}
	return slipway.Errorf(slipway.Unauthorized, signingIn, "%s brought no token, and no answer that is understood", a.way.name).
		WithHint("check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_AUTHORITY_HOST")
}

func interrupted(ctx context.Context) error {
	return &slipway.Error{Op: signingIn, Code: slipway.Unavailable, Message: "interrupted", Err: context.Cause(ctx)}
}

// byLuck reports whether no way was complete, and others were tried.
func (a *Account) byLuck() bool { return strings.HasSuffix(a.way.name, wayCLI) }

// nobody reports whether nothing was to be had to sign in with, and no variable
// says that there should have been. What every job in Azure Pipelines has, or
// is given for other things, says nothing.
func (a *Account) nobody() bool {
	named := ""
	for _, w := range ways {
		for _, v := range w.needs() {
			if v[0] != devopsURL[0] && v[0] != devopsToken[0] {
				named += v.of(a.getenv)
			}
		}
	}
	return named == "" && a.byLuck()
}

// nothing is the error when there was nothing to sign in with.
func (a *Account) nothing(err error) error {
	e := &slipway.Error{Op: signingIn, Code: slipway.Unauthorized, Message: "nothing to sign in with was found",
		Err: errors.New(lacking(a.getenv) + "\n" + a.way.name + ": " + a.redact(oneLine(err.Error())))}
	switch {
	case a.getenv("GITHUB_ACTIONS") == "true":
		return e.WithHint("give the job `permissions: {id-token: write, contents: read}`, and set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_SUBSCRIPTION_ID from the repository's secrets or variables")
	case a.getenv("TF_BUILD") == "True":
		return e.WithHint("run slipway in AzureCLI@2 with the service connection and addSpnToEnvironment: true, and map SYSTEM_ACCESSTOKEN: $(System.AccessToken)")
	}
	return e.WithHint("az login")
}

// aadsts matches the number of an error of Microsoft Entra (Microsoft Learn,
// "Microsoft Entra authentication and authorization error codes").
var aadsts = regexp.MustCompile(`AADSTS([0-9]{4,8})`)

// refusedByEntra reads the error of a token endpoint (RFC 6749, 5.2).
func (a *Account) refusedByEntra(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxFailure)) // what could be read is enough for a message
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		return refusal{op: signingIn, host: "Microsoft Entra", status: resp.StatusCode}.err()
	}
	text, _, _ := strings.Cut(said.Description, "Trace ID:")
	number := ""
	if m := aadsts.FindStringSubmatch(text); m != nil {
		number = m[1]
	}
	code := slipway.Unauthorized
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		code = slipway.Unavailable
	}
	e := slipway.Errorf(code, signingIn, "Microsoft Entra refuses %s", a.way.name)
	e.Err = errors.New(a.redact(oneLine(said.Error + ": " + text)))
	return e.WithHint("%s", a.entraHint(number, text))
}

// entraHint is the command that mends what Entra complains about.
func (a *Account) entraHint(number, text string) string {
	id := a.identity()
	switch number {
	case "7000215", "7000222": // wrong, or expired
		return fmt.Sprintf("az ad app credential reset --id %s --append makes a new secret: set AZURE_CLIENT_SECRET to its value, not to its ID", id)
	case "700016":
		return fmt.Sprintf("az ad app show --id %s --query appId must answer in the tenant of AZURE_TENANT_ID: check both variables", id)
	case "90002", "900023":
		return "set AZURE_TENANT_ID to what az account show --query tenantId -o tsv prints"
	case "70021", "700211", "700212", "700213":
		return a.federate(id, text)
	case "700024":
		return "the assertion ran out. In Azure DevOps map SYSTEM_ACCESSTOKEN: $(System.AccessToken), so that slipway gets a new one each time; else check the clock"
	}
	return fmt.Sprintf("az ad sp show --id %s shows whether it is there and enabled; https://login.microsoftonline.com/error?code=%s explains the number", cmp.Or(id, "CLIENT_ID"), cmp.Or(number, "NUMBER"))
}

// asserted finds what an assertion says, in Entra's complaint that it expects
// nobody like that.
var (
	assertedIssuer  = regexp.MustCompile(`(?i)issuer:? '([^'"\\$` + "`" + `]{1,300})'`)
	assertedSubject = regexp.MustCompile(`(?i)subject:? '([^'"\\$` + "`" + `]{1,300})'`)
)

// federate is the command that makes Entra trust the assertion.
func (a *Account) federate(id, text string) string {
	issuer, subject := "ISSUER", "SUBJECT"
	if m := assertedIssuer.FindStringSubmatch(text); m != nil {
		issuer = m[1]
	} else if a.way.name == github {
		issuer = "https://token.actions.githubusercontent.com"
	}
	if m := assertedSubject.FindStringSubmatch(text); m != nil {
		subject = m[1]
	}
	return oneLine(fmt.Sprintf(`az ad app federated-credential create --id %s --parameters '{"name":"slipway","issuer":"%s","subject":"%s","audiences":["%s"]}'`,
		id, issuer, subject, a.cloud.audience))
}

// redact takes out of text the secrets that we hold, and whatever looks like a
// token.
func (a *Account) redact(text string) string {
	for _, v := range []variable{secret, taskSecret, taskIDToken, githubToken, devopsToken, storageKey, storageSAS, storageConnection} {
		if s := v.of(a.getenv); len(s) > 3 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return tokenLike.ReplaceAllString(text, "***")
}

// tokenLike matches a JSON web token (RFC 7515): base64 of "{" and more.
var tokenLike = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*){0,4}`)
