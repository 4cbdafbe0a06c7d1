"""A real Kubernetes control plane and a real Prometheus on a bare machine.

Demo, tests and benchmarks need the real thing: the API server's validation, RBAC and conflicts,
the Job controller, PromQL. Neither Docker nor a cluster can be assumed, so this room finds or
builds the binaries (`binaries`), starts them on loopback in one directory (`cluster`), and leaves
nothing behind. The operator never imports it.

```
binaries   which binary of which version, found or built once
cluster    start, chaos, stop: the one class others use
handle     how any process reaches a running cluster: paths, URLs, identities, audit log
keeper     the background process that keeps a cluster for `up --detach` and for test runs
```
"""
