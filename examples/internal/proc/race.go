package proc

import "runtime/debug"

// RaceFlags are flags for Build that have the programs look for data races if the
// test does, under go test -race. A program that has found one exits with 66.
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

// A program that looks for data races waits at its end, a second by default, for races that
// are being reported.
const raceOptions, quickExit = "GORACE", "atexit_sleep_ms=50"
