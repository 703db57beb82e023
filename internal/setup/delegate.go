package setup

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
