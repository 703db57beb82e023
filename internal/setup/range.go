package setup

import (
	"fmt"
	"time"
)

// LongestTime is the largest duration that a setting may have: longer ones are mistakes,
// and sums of them would not fit into a time.Duration.
const LongestTime = 365 * 24 * time.Hour

// Default puts the default into a setting that is zero. It returns an error, which names
// the setting and the range, if the value is neither zero nor between least and most.
func Default[T int | time.Duration](name string, value *T, def, least, most T) error {
	if *value == 0 {
		*value = def
	}
	if *value < least || *value > most {
		return fmt.Errorf("options: %s of %v is not between %v and %v (0: the default, %v)", name, *value, least, most, def)
	}
	return nil
}

// Range returns an error, which names the setting and the range, if the value is not
// between least and most.
func Range[T int | time.Duration](name string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("options: %s of %v is not between %v and %v", name, value, least, most)
	}
	return nil
}
