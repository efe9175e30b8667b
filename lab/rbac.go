package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/rights"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

type rbacCmd struct {
	Audit string `required:"" type:"existingfile" help:"Audit log of the API server, of a time in which releases were made; hack/audit makes the lab's cluster keep one."`
}

// errRights says that roles grant too much or too little.
var errRights = errors.New("roles do not fit: the lines above say where")

// unusedRights are granted for what a proof need not do.
func unusedRights() []rights.Exception {
	gatekeeper := stack.SystemNamespace + "/gatekeeper"
	all := []rights.Exception{{
		Account: gatekeeper, Resource: "httproutes", Verb: "watch", Why: "asked for once a Canary has provider gatewayapi:v1: make provegateway",
	}}
	for _, resource := range []string{"pods", "deployments", "replicasets", "ingresses", "httproutes", "canaries"} {
		all = append(all, rights.Exception{
			Account: gatekeeper, Resource: resource, Verb: "list", Why: "asked for where the API server does not stream lists through watches, as older ones do not",
		})
	}
	return all
}

// rbac compares what our service accounts may do with what they were seen to do.
func (l *lab) rbac(ctx context.Context, stdout io.Writer) error {
	client, err := l.stack.Engine.Access.Client()
	if err != nil {
		return err
	}
	var rules []rights.Rule
	for _, of := range []string{stack.SystemNamespace, namespace} {
		some, err := client.Rules(ctx, of)
		if err != nil {
			return err
		}
		rules = append(rules, some...)
	}
	log, err := os.Open(l.Rbac.Audit)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	defer log.Close()
	uses, err := rights.Log(log)
	if err != nil {
		return err
	}
	if len(uses) == 0 {
		return fmt.Errorf("%s has nothing of a service account: let lab prove run while the API server keeps it", l.Rbac.Audit)
	}
	for _, u := range uses {
		fmt.Fprintf(stdout, "  %6d × %s\n", u.Times, u.Right)
	}
	faults := 0
	for _, f := range rights.Compare(rules, uses, unusedRights()) {
		if f.Why == "" {
			faults++
			fmt.Fprintf(stdout, "✗ %s: %s\n", f.Problem, f.Right)
			continue
		}
		fmt.Fprintf(stdout, "  %s, and why: %s: %s\n", f.Problem, f.Right, f.Why)
	}
	fmt.Fprintf(stdout, "%d rules, %d rights used, %d do not fit\n", len(rules), len(uses), faults)
	if faults > 0 {
		return errRights
	}
	return nil
}
