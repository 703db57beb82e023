package setup

import (
	"fmt"
	"time"
)

// LongestTime is the largest duration that a setting may have. Sums of longer ones could
// overflow a time.Duration.
const LongestTime = 365 * 24 * time.Hour

// Default sets a setting that is zero to its default. It returns an error, which names the
// setting and the range, if the value is neither zero nor between lowest and highest.
func Default[T int | time.Duration](name string, value *T, def, lowest, highest T) error {
	if *value == 0 {
		*value = def
	}
	if *value < lowest || *value > highest {
		return fmt.Errorf("options: %s of %v is not between %v and %v (0: the default, %v)", name, *value, lowest, highest, def)
	}
	return nil
}

// Range returns an error, which names the setting and the range, if the value is not between
// lowest and highest.
func Range[T int | time.Duration](name string, value, lowest, highest T) error {
	if value < lowest || value > highest {
		return fmt.Errorf("options: %s of %v is not between %v and %v", name, value, lowest, highest)
	}
	return nil
}
