"""The command line: `encore run | list | show | plan | fetch | report | publish | check | new`."""
