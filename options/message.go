package options

import "github.com/singchia/geminio/internal/merge"

// NewMessageOptions are the options of NewMessage.
type NewMessageOptions struct {
	// Custom is the metadata that travels beside the message's data; nil means
	// none.
	Custom []byte
	// Cnss is the delivery guarantee; nil means CnssAtLeastOnce.
	Cnss *Cnss
	// Topic is free text for the receiver; nil means the empty topic.
	Topic *string
}

// NewMessage returns NewMessageOptions with nothing set.
func NewMessage() *NewMessageOptions {
	return &NewMessageOptions{}
}

// SetCustom sets the metadata that travels beside the message's data. The slice
// is kept, not copied; nil means none.
func (opt *NewMessageOptions) SetCustom(custom []byte) {
	opt.Custom = custom
}

// SetCnss sets the delivery guarantee.
func (opt *NewMessageOptions) SetCnss(cnss Cnss) {
	opt.Cnss = &cnss
}

// SetTopic sets the topic that the receiver sees.
func (opt *NewMessageOptions) SetTopic(topic string) {
	opt.Topic = &topic
}

// MergeNewMessageOptions combines opts into a new value, never nil: nil entries
// are skipped, and of a field set more than once the last one counts. The
// entries are not changed; the result shares their byte slices.
func MergeNewMessageOptions(opts ...*NewMessageOptions) *NewMessageOptions {
	return merge.Merge(opts...)
}
