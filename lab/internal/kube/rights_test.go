package kube

import (
	"cmp"
	"reflect"
	"slices"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/rights"
)

func TestRulesAreThoseOfANamespacesAccounts(t *testing.T) {
	const api = "/apis/rbac.authorization.k8s.io/v1/"
	binding := func(kind, role, account, namespace string) string {
		return `{"metadata":{"name":"b","namespace":"demo"},"roleRef":{"kind":"` + kind + `","name":"` + role + `"},"subjects":[{"kind":"ServiceAccount","name":"` + account + `","namespace":"` + namespace + `"}]}`
	}
	client := apiServer(t, map[string]string{
		api + "clusterrolebindings":         `{"items":[` + binding("ClusterRole", "watch", "gatekeeper", "system") + "," + binding("ClusterRole", "admin", "other", "elsewhere") + `]}`,
		api + "rolebindings":                `{"items":[` + binding("Role", "lease", "gatekeeper", "system") + "," + binding("ClusterRole", "watch", "gatekeeper", "system") + `]}`,
		api + "clusterroles/watch":          `{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["list","watch"]}]}`,
		api + "namespaces/demo/roles/lease": `{"rules":[{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"resourceNames":["gatekeeper"],"verbs":["update"]}]}`,
	})
	got, err := client.Rules(t.Context(), "system")
	pods := rights.Rule{Account: "system/gatekeeper", Groups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}}
	inDemo := pods
	inDemo.Namespace = "demo" // a cluster role that is bound in a namespace
	want := []rights.Rule{
		pods, inDemo,
		{Account: "system/gatekeeper", Namespace: "demo", Groups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Names: []string{"gatekeeper"}, Verbs: []string{"update"}},
	}
	slices.SortFunc(got, func(a, b rights.Rule) int {
		return cmp.Or(cmp.Compare(b.Resources[0], a.Resources[0]), cmp.Compare(a.Namespace, b.Namespace))
	})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, %v\nwant\n%+v", got, err, want)
	}
	if _, err := client.Rules(t.Context(), "elsewhere"); err == nil {
		t.Error("a role that can not be read gave no error")
	}
}
