package main

import "github.com/spf13/cobra"

// newVersion returns the command that prints the version.
func newVersion(env environment) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit and the Go release of this program",
		Example: "  syncplane version",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return version(env) },
	}
}
