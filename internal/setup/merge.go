package setup

// Override sets *dst unless v is the zero value.
func Override[T comparable](dst *T, v T) {
	var zero T
	if v != zero {
		*dst = v
	}
}

// OverrideSlice sets *dst unless v is nil.
func OverrideSlice[T any](dst *[]T, v []T) {
	if v != nil {
		*dst = v
	}
}

// OverrideSize sets *dst if v is above 0.
func OverrideSize(dst *int, v int) {
	if v > 0 {
		*dst = v
	}
}

// NotNil returns d as a Delegate, nil if d is nil.
func NotNil[D interface {
	comparable
	Delegate
}](d D) Delegate {
	var none D
	if d == none {
		return nil
	}
	return d
}
