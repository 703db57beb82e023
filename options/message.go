package options

import "github.com/singchia/geminio/internal/merge"

// NewMessageOptions are the options of NewMessage.
type NewMessageOptions struct {
	// Custom has metadata, which is sent beside the data of the message. nil stands for
	// none.
	Custom []byte
	// Cnss is the delivery guarantee. nil stands for CnssAtLeastOnce.
	Cnss *Cnss
	// Topic is a text for the receiver. nil stands for the empty text.
	Topic *string
}

// NewMessage returns NewMessageOptions in which nothing is set.
func NewMessage() *NewMessageOptions {
	return &NewMessageOptions{}
}

// SetCustom sets metadata, which is sent beside the data of the message. The bytes are not
// copied.
func (opt *NewMessageOptions) SetCustom(custom []byte) {
	opt.Custom = custom
}

// SetCnss sets the delivery guarantee.
func (opt *NewMessageOptions) SetCnss(cnss Cnss) {
	opt.Cnss = &cnss
}

// SetTopic sets a text for the receiver.
func (opt *NewMessageOptions) SetTopic(topic string) {
	opt.Topic = &topic
}

// MergeNewMessageOptions returns a new value. Each of its fields has the last value that is set in opts. It
// skips nil entries, and changes none. The result shares their byte slices.
func MergeNewMessageOptions(opts ...*NewMessageOptions) *NewMessageOptions {
	return merge.Merge(opts...)
}
