// Package tools is what tests need of other projects, at one version each: Helm, CoreDNS, and the resource types of the
// Prometheus operator, of which controller-gen makes definitions.
package tools

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
