package merge

import "reflect"

// Merge returns a new struct. Each of its fields has the last value that is set in opts.
// A value is set if it is not zero or, for a field with the tag `merge:"positive"`, if
// it is above zero. Embedded structs are merged field by field. Nil entries are skipped,
// and none is changed. All fields must be exported.
func Merge[T any](opts ...*T) *T {
	merged := new(T)
	for _, opt := range opts {
		if opt != nil {
			fields(reflect.ValueOf(merged).Elem(), reflect.ValueOf(opt).Elem())
		}
	}
	return merged
}

// fields sets the fields of dst that are set in src.
func fields(dst, src reflect.Value) {
	for i := range src.NumField() {
		value, field := src.Field(i), src.Type().Field(i)
		switch {
		case field.Anonymous:
			fields(dst.Field(i), value)
		case value.IsZero(), field.Tag.Get("merge") == "positive" && value.Int() < 0:
		default:
			dst.Field(i).Set(value)
		}
	}
}
