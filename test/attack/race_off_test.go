//go:build !race

package attack

// raceDetector tells that everything is many times slower.
const raceDetector = false
