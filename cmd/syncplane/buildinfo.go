package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version prints the version of this program: that of its module, the commit
// that it was built from, and the Go release and platform.
func version(env environment) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("this program was built without build information")
	}
	fmt.Fprintln(env.stdout, describeBuild(info))
	return nil
}

// describeBuild returns one line for a build. A build outside a repository has
// no commit.
func describeBuild(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	parts := []string{"syncplane", info.Main.Version}
	if commit := settings["vcs.revision"]; commit != "" {
		parts = append(parts, "commit", commit, settings["vcs.time"])
		if settings["vcs.modified"] == "true" {
			parts = append(parts, "modified")
		}
	}
	return strings.Join(append(parts, info.GoVersion, runtime.GOOS+"/"+runtime.GOARCH), " ")
}
