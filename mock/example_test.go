package mock_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/mock/gomock"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/mock"
)

// reboot is the function under test.
func reboot(ctx context.Context, device geminio.RPCer) error {
	if _, err := device.Call(ctx, "reboot", device.NewRequest([]byte("now"))); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}

// testReboot requires that reboot calls the method, and that it returns the error of the device.
func testReboot(t *testing.T) {
	device := mock.NewMockEnd(gomock.NewController(t))
	req := mock.NewMockRequest(gomock.NewController(t))
	device.EXPECT().NewRequest([]byte("now")).Return(req)
	device.EXPECT().Call(gomock.Any(), "reboot", req).Return(nil, &geminio.RemoteError{Code: geminio.CodeLimit, Text: "busy"})
	if err := reboot(t.Context(), device); err == nil || err.Error() != "reboot: busy" {
		t.Errorf("reboot returned %v", err)
	}
}

func Example() {
	_ = testing.InternalTest{Name: "TestReboot", F: testReboot} // go test finds it by its name TestReboot
}
