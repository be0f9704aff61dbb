package slipway_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
)

func TestParseModelRef(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want slipway.ModelRef
		code slipway.Code
	}{
		"models:/iris@champion":         {want: slipway.ModelRef{Name: "iris", Alias: "champion"}},
		"models:/iris/Production":       {want: slipway.ModelRef{Name: "iris", Stage: "Production"}},
		"models:/iris/production":       {want: slipway.ModelRef{Name: "iris", Stage: "Production"}},
		"models:/iris/3":                {want: slipway.ModelRef{Name: "iris", Version: "3"}},
		"models:/dépôt de risque@v_1-b": {want: slipway.ModelRef{Name: "dépôt de risque", Alias: "v_1-b"}},
		"models:/a@b@champion":          {want: slipway.ModelRef{Name: "a@b", Alias: "champion"}},
		"models:/a@b/3":                 {want: slipway.ModelRef{Name: "a@b", Version: "3"}},
		"models/iris":                   {want: slipway.ModelRef{Path: "models/iris"}},
		"./iris/":                       {want: slipway.ModelRef{Path: "iris"}},
		"models:/iris":                  {code: slipway.Invalid},
		"models:/iris@":                 {code: slipway.Invalid},
		"models:/@champion":             {code: slipway.Invalid},
		"models:/iris@a b":              {code: slipway.Invalid},
		"models:/iris/Productoin":       {code: slipway.Invalid},
		"models:/a/b/3":                 {code: slipway.Invalid},
		"runs:/0123/model":              {code: slipway.Invalid},
		"s3://bucket/model":             {code: slipway.Invalid},
		"":                              {code: slipway.Invalid},
	}
	for in, tt := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, err := slipway.ParseModelRef(in)
			if slipway.CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if err != nil && slipway.HintOf(err) == "" {
				t.Error("the error has no hint")
			}
		})
	}
}

func FuzzParseModelRef(f *testing.F) {
	for _, s := range []string{"models:/iris@champion", "models:/iris/Staging", "models:/iris/12", "dir", "models:/@/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := slipway.ParseModelRef(s)
		if err != nil {
			return
		}
		again, err := slipway.ParseModelRef(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q reads as %+v, whose form %q reads as %+v, %v", s, ref, ref.String(), again, err)
		}
	})
}

func TestParseTargetRef(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // empty: refused
		"local://127.0.0.1:8000":                                "local://127.0.0.1:8000",
		"local://[::1]:8000":                                    "local://[::1]:8000",
		"kubernetes://production/inference-service":             "kubernetes://production/inference-service",
		"kubernetes://production/inference-service?context=aks": "kubernetes://production/inference-service?context=aks",
		"local://127.0.0.1":                                     "",
		"local://127.0.0.1:8000/x":                              "",
		"kubernetes://production":                               "",
		"kubernetes://production/a/b":                           "",
		"http://127.0.0.1:8000":                                 "",
		"127.0.0.1:8000":                                        "",
		"":                                                      "",
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			ref, err := slipway.ParseTargetRef(in)
			if want == "" {
				if slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
					t.Fatalf("got %+v, %v; want an invalid reference with a hint", ref, err)
				}
				return
			}
			if err != nil || ref.String() != want {
				t.Errorf("got %q, %v; want %q", ref, err, want)
			}
		})
	}
}
