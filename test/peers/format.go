package main

import (
	"fmt"
	"math"
	"strconv"
)

// three formats v with three significant digits and no exponent.
func three(v float64) string {
	if v == 0 {
		return "0"
	}
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64)
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', min(max(digits, 0), 3), 64)
}

// scaled divides v by 1000 until it is readable.
func scaled(v float64, units ...string) string {
	i := 0
	for ; v >= 999.5 && i < len(units)-1; i++ {
		v /= 1000
	}
	return three(v) + units[i]
}

func rate(v float64) string { return scaled(v, "/s", "k/s", "M/s") }

func byteRate(v float64) string { return scaled(v, " B/s", " KB/s", " MB/s", " GB/s") }

func seconds(v float64) string {
	if v < 1e-3 {
		return three(v*1e6) + " µs"
	}
	return three(v*1e3) + " ms"
}

// size formats a number of bytes with binary units.
func size(v float64) string {
	if v < 1<<10 {
		return fmt.Sprintf("%.0f B", v)
	}
	return three(v/(1<<10)) + " KiB"
}

// plain rounds off noise in a count.
func plain(v float64) string {
	if math.Abs(v-math.Round(v)) < noise {
		return strconv.Itoa(int(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// cpuPerByte formats seconds for each byte as seconds for 1 GB.
func cpuPerByte(v float64) string { return three(v*1e9) + " s" }
