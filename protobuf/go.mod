module github.com/singchia/geminio/protobuf

go 1.25.0

replace github.com/singchia/geminio => ..

require (
	github.com/singchia/geminio v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	google.golang.org/protobuf v1.36.10
)

require (
	github.com/jumboframes/armorigo v0.2.5 // indirect
	github.com/singchia/go-timer/v2 v2.2.2 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
