package merge

import "reflect"

// Merge returns a new struct. Each field has the last value in opts that is set. A value is
// set if it is not zero; a value of a field with the tag `merge:"positive"` is set if it is
// above zero. A field with the tag `merge:"append"` is a slice, and has the elements of all values
// in the order of opts, in memory of its own. Embedded structs are merged field by field. Nil entries are skipped. Merge does
// not change opts. All fields must be exported.
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
		case field.Tag.Get("merge") == "append":
			if value.Len() > 0 {
				dst.Field(i).Set(reflect.AppendSlice(dst.Field(i), value))
			}
		case value.IsZero(), field.Tag.Get("merge") == "positive" && value.Int() < 0:
		default:
			dst.Field(i).Set(value)
		}
	}
}
