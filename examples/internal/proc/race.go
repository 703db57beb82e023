package proc

import "runtime/debug"

// RaceFlags returns flags for Build that enable the race detector if it is enabled for the
// test. A program that has found a race exits with 66.
func RaceFlags() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return []string{"-race"}
		}
	}
	return nil
}

// A program with the race detector waits at its end, by default for a second, for reports of
// races. The options shorten that time.
const raceOptions, quickExit = "GORACE", "atexit_sleep_ms=50"
