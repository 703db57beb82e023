package prometheus

import "github.com/singchia/geminio"

// codeNames are the values of the label code.
var codeNames = [...]string{
	geminio.CodeOK:          "ok",
	geminio.CodeApplication: "application",
	geminio.CodeCanceled:    "canceled",
	geminio.CodeDeadline:    "deadline",
	geminio.CodeNoMethod:    "no_method",
	geminio.CodePanic:       "panic",
	geminio.CodeLimit:       "limit",
	geminio.CodeTooLarge:    "too_large",
	geminio.CodeVersion:     "version",
	geminio.CodeProtocol:    "protocol",
	geminio.CodeGoingAway:   "going_away",
	geminio.CodeClosed:      "closed",
	geminio.CodeReplaced:    "replaced",
	geminio.CodeInvalid:     "invalid",
}

// codeOf returns the value of the label code. The peer chooses the codes of applications, so they
// have one value.
func codeOf(o geminio.Outcome) string {
	switch {
	case o.Code >= geminio.Code(len(codeNames)):
		return codeNames[geminio.CodeApplication]
	case o.Code == geminio.CodeOK && o.Err != nil:
		return codeNames[geminio.CodeApplication]
	}
	return codeNames[o.Code]
}

// sideOf returns the value of the label side: which side of the connection this program is.
func sideOf(s geminio.Side) string {
	if s == geminio.InitiatorSide {
		return "client"
	}
	return "server"
}
