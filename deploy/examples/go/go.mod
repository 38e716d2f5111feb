module arouter-usage-example

go 1.19

require github.com/nats-io/nats.go v1.31.0
