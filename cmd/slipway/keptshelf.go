package main

import (
	"slices"
	"strings"
)

// keptShelf is a file that names the repositories where packages were seen.
type keptShelf struct{ path string }

// maxShelf bounds how many repositories are tried.
const maxShelf = 8

// near returns the image's repository, and those of the same image registry.
func (s keptShelf) near(image string) []string {
	var seen []string
	if readJSON(s.path, &seen) != nil {
		seen = nil // a broken file is as good as none
	}
	host, _, _ := strings.Cut(image, "/")
	list := []string{image}
	for _, repository := range seen {
		if strings.HasPrefix(repository, host+"/") && repository != image && len(list) < maxShelf {
			list = append(list, repository)
		}
	}
	return list
}

// note remembers a repository, the newest first. Where that fails, its packages
// are uploaded once more.
func (s keptShelf) note(repository string) {
	var seen []string
	if readJSON(s.path, &seen) != nil {
		seen = nil
	}
	seen = slices.DeleteFunc(seen, func(r string) bool { return r == repository })
	seen = append([]string{repository}, seen...)
	_ = writeJSON(s.path, seen[:min(len(seen), maxShelf)])
}
