package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"rekindle/agent/status"
)

func timelineCommand(shared *common) *cobra.Command {
	var picture string
	command := &cobra.Command{
		Use:   "timeline [BOOT.JSON]",
		Short: "show where the time of the last boot went",
		Example: `  rekindle timeline
  rekindle timeline --svg boot.svg
  aws s3 cp s3://BUCKET/PREFIX/nodes/i-0123/boot.json . && rekindle timeline boot.json`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			path := shared.path(timelinePath)
			if len(args) == 1 {
				path = args[0]
			}
			timeline, err := status.ReadTimeline(path)
			if err != nil {
				return err
			}
			if picture == "" {
				_, width := terminal(c.OutOrStdout())
				return timeline.Text(c.OutOrStdout(), width)
			}
			return writePicture(timeline, picture)
		},
	}
	command.Flags().StringVar(&picture, "svg", "", "write a picture to this file instead")
	return command
}

func writePicture(timeline *status.Timeline, path string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := timeline.SVG(file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
